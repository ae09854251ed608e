// A headless Chromium of the system's, and a web server for a page that is not Stentor's own.
import { createServer } from 'node:http';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { chromium } from 'playwright-core';

const require = createRequire(import.meta.url);
const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** A browser, closed when test `t` (or the suite's hook) ends it. */
export async function launch() {
  const executablePath = process.env.CHROMIUM ?? PLACES.find((place) => existsSync(place));
  if (!executablePath) throw new Error(`no Chromium at ${PLACES.join(', ')}: install the package chromium, or set CHROMIUM`);
  return chromium.launch({ executablePath, args: FLAGS });
}

/** A page whose complaints are kept: `page.complaints` lists console errors and uncaught exceptions. */
export async function openPage(t, browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 1000 }, ...options });
  t.after(() => context.close());
  const page = await context.newPage();
  page.complaints = [];
  page.on('console', (message) => message.type() === 'error' && page.complaints.push(message.text()));
  page.on('pageerror', (error) => page.complaints.push(`uncaught ${error.stack}`));
  return page;
}

const folderOf = (name) => path.dirname(require.resolve(`${name}/package.json`));
const SCRIPTS = {
  '/sockjs.js': () => path.join(folderOf('sockjs-client'), 'dist/sockjs.min.js'),
  '/stomp.js': () => path.join(path.dirname(require.resolve('@stomp/stompjs')), 'stomp.umd.min.js'),
  '/eventara.mjs': () => new URL('./eventara.mjs', import.meta.url),
  '/channel.mjs': () => new URL('../../../examples/stompjs/channel.mjs', import.meta.url),
  '/carried.mjs': () => new URL('./carried.mjs', import.meta.url),
  '/wait.mjs': () => new URL('./wait.mjs', import.meta.url),
};

/** Serves `html` at `/`, the browser builds of both clients and the example beside it, on another origin than Stentor's. */
export async function servePage(t, html) {
  const server = createServer(async (request, response) => {
    const script = SCRIPTS[request.url];
    if (script) {
      response.setHeader('content-type', 'text/javascript');
      response.end(await readFile(script()));
    } else if (request.url === '/') {
      response.setHeader('content-type', 'text/html; charset=utf-8');
      response.end(html);
    } else {
      response.writeHead(request.url === '/favicon.ico' ? 204 : 404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${server.address().port}/`;
}
