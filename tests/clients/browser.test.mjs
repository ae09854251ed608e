// A real browser: an analytics front end of another origin, and the dashboard. Both against a server of our own,
// since the dashboard must outlive one. Screenshots go to SCREENSHOT_DIR, or to a temporary folder.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launch, openPage, servePage } from './support/browser.mjs';
import { assertMetrics } from './support/metrics.mjs';
import { canStart, ONE_IS_ENOUGH, startServer } from './support/server.mjs';

const CHARTS = ['cpu-chart', 'mem-chart', 'disk-chart', 'net-chart', 'events-chart', 'errors-chart', 'latency-chart'];
/** What Chromium itself says of a server that is not there. */
const UNREACHABLE = /ERR_CONNECTION_(REFUSED|RESET|CLOSED)|ERR_EMPTY_RESPONSE|WebSocket connection to .* failed/;

describe('in Chromium', { skip: !canStart() && 'needs servers of its own: set STENTOR_BIN' }, () => {
  let server;
  let browser;
  let pictures;
  before(async () => {
    pictures = process.env.SCREENSHOT_DIR ?? (await mkdtemp(path.join(tmpdir(), 'stentor-screenshots-')));
    await mkdir(pictures, { recursive: true });
    [server, browser] = await Promise.all([startServer(), launch()]);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  const picture = (page, name) => page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage: true });
  const shown = (page, id) => page.getByTestId(id).textContent();
  const total = async (page) => Number(await page.getByTestId('total-events').getAttribute('data-count'));

  const field = (page, label) => page.getByTestId('post-form').getByLabel(label);

  /** The dashboard, loaded. */
  async function openDashboard(t, options) {
    const page = await openPage(t, browser, options);
    const response = await page.goto(server.url);
    assert.equal(response.status(), 200);
    assert.ok(await page.getByTestId('connection-state').count(), 'the dashboard is built into the server');
    return page;
  }

  const live = (page, timeout = 5000) =>
    page.waitForFunction(() => document.querySelector('[data-testid="connection-state"]').textContent.includes('Live'), null, { timeout });

  /** Waits until each chart has moved `ticks` times more than it has now. */
  async function move(page, ticks, timeout) {
    const from = await page.evaluate((ids) => ids.map((id) => Number(document.getElementById(id)?.dataset.ticks ?? 0)), CHARTS);
    await page.waitForFunction(
      ([ids, before, more]) => ids.every((id, i) => Number(document.getElementById(id)?.dataset.ticks ?? 0) >= before[i] + more),
      [CHARTS, from, ticks],
      { timeout },
    );
  }

  test('a front end of another origin gets its metrics each second', async (t) => {
    const html = `<!doctype html><title>Live metrics</title>
      <script src="/sockjs.js"></script><script src="/stomp.js"></script>
      <script type="module">
        import { liveMetrics } from '/eventara.mjs';
        window.seen = { at: [], last: null, connects: 0, closes: 0 };
        liveMetrics(SockJS, StompJs.Client, ${JSON.stringify(server.url)}, {
          connected: () => { seen.connects += 1; seen.connectedAt = performance.now(); },
          metrics: (metrics) => { seen.at.push(performance.now() - seen.connectedAt); seen.last = metrics; },
          closed: () => { seen.closes += 1; },
        });
      </script>`;
    const page = await openPage(t, browser);
    await page.goto(await servePage(t, html));
    await page.waitForFunction(() => window.seen?.at.length > 0 && seen.at.at(-1) > seen.at[0] + 5200, null, { timeout: 10_000 });
    const seen = await page.evaluate(() => window.seen);
    assert.ok(seen.at[0] < 1000, `the first message came ${seen.at[0].toFixed(0)} ms after CONNECTED`);
    const ticks = seen.at.filter((at) => at >= seen.at[0] + 1200);
    const period = (ticks.at(-1) - ticks[0]) / (ticks.length - 1) / 1000;
    assert.ok(Math.abs(period - 1) <= 0.05, `mean period ${period.toFixed(3)} s`);
    assert.deepEqual([seen.connects, seen.closes], [1, 0]);
    assertMetrics(seen.last);
    assert.deepEqual(page.complaints, []);
  });

  for (const colorScheme of ['light', 'dark']) {
    test(`the dashboard is live within five seconds (${colorScheme})`, { skip: ONE_IS_ENOUGH }, async (t) => {
      const page = await openDashboard(t, { colorScheme });
      await live(page);
      await move(page, 2, 5000);
      assert.equal(await shown(page, 'transport'), 'websocket');
      assert.equal(await shown(page, 'data-age'), 'up to date');
      for (const id of ['cpu-chart', 'mem-chart', 'disk-chart', 'net-chart']) {
        assert.ok(await page.locator(`#${id} canvas`).isVisible(), `${id} is drawn`);
      }
      assert.match(await page.locator('#cpu-usage').textContent(), /^\d+\.\d%$/);
      await picture(page, `dashboard-${colorScheme}`);
      assert.deepEqual(page.complaints, []);
    });
  }

  test('a sample event posted with the keyboard shows in the total', async (t) => {
    const page = await openDashboard(t);
    await live(page);
    await move(page, 1, 5000);
    const before = await total(page);
    assert.equal(await page.getByTestId('empty-state').isVisible(), before === 0, 'the empty state says so when nothing came yet');
    await field(page, 'Severity').selectOption('ERROR');
    await field(page, 'Type').fill('dashboard.test');
    await field(page, 'Type').press('Enter');
    await page.waitForFunction(
      (n) => Number(document.querySelector('[data-testid="total-events"]').dataset.count) === n,
      before + 1,
      { timeout: 5000 },
    );
    assert.match(await shown(page, 'post-answer'), /^Accepted as evt_/);
    assert.match(await shown(page, 'top-types'), /dashboard\.test/);
    assert.notEqual(await shown(page, 'severity-ERROR'), '0');
    assert.equal(await page.getByTestId('empty-state').isVisible(), false);
    assert.deepEqual(page.complaints, []);
  });

  test('what the server refuses is said at the field', { skip: ONE_IS_ENOUGH }, async (t) => {
    const page = await openDashboard(t);
    await field(page, 'Source').fill('   ');
    await page.getByRole('button', { name: 'Post event' }).click();
    await page.waitForFunction(() => document.querySelector('#post-source-error').textContent !== '', null, { timeout: 5000 });
    assert.equal(await field(page, 'Source').getAttribute('aria-invalid'), 'true');
    assert.ok(await field(page, 'Source').evaluate((field) => field === document.activeElement), 'the keyboard is at the field');
  });

  test('a phone sees one column and nothing beyond its width', { skip: ONE_IS_ENOUGH }, async (t) => {
    const page = await openDashboard(t, { viewport: { width: 375, height: 812 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true });
    await live(page);
    await move(page, 1, 5000);
    const { width, columns } = await page.evaluate(() => ({
      width: document.documentElement.scrollWidth,
      columns: new Set([...document.querySelectorAll('.card')].filter((card) => card.checkVisibility()).map((card) => card.getBoundingClientRect().left)).size,
    }));
    assert.equal(width, 375);
    assert.equal(columns, 1);
    await picture(page, 'dashboard-phone');
    assert.deepEqual(page.complaints, []);
  });

  test('the dashboard outlives a restart of the server', { skip: ONE_IS_ENOUGH }, async (t) => {
    const page = await openDashboard(t);
    await live(page);
    await move(page, 1, 5000);
    assert.deepEqual(page.complaints, []);

    await server.stop();
    await page.waitForFunction(() => /Reconnecting in \d+/.test(document.querySelector('[data-testid="connection-state"]').textContent), null, { timeout: 5000 });
    await picture(page, 'dashboard-reconnecting');
    server = await startServer(server.port);
    await live(page, 25_000);
    await move(page, 2, 5000);
    assert.equal(await shown(page, 'transport'), 'websocket');
    assert.deepEqual(page.complaints.filter((text) => !UNREACHABLE.test(text)), []);
  });
});
