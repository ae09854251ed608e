// The server under test against RabbitMQ's STOMP plug-in: one script of frames goes to both, and what comes back is compared
// header by header. STENTOR_BIN=rabbitmq compares RabbitMQ with itself, which shows what the script itself makes uncertain.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Judge } from './support/differences.mjs';
import { missing } from './support/rabbitmq.mjs';
import { canStart } from './support/server.mjs';
import { cases as acks } from './support/stomp-cases-acks.mjs';
import { cases as random } from './support/stomp-cases-random.mjs';
import { cases as sessions } from './support/stomp-cases-sessions.mjs';
import { cases as subscriptions } from './support/stomp-cases-subscriptions.mjs';
import { cases as transactions } from './support/stomp-cases-transactions.mjs';
import { DIFFERENCES, RULES } from './support/stomp-differences.mjs';
import { Side } from './support/stomp-script.mjs';
import { RABBIT_ALONE, startBoth } from './support/stomp-servers.mjs';

const groups = { sessions, subscriptions, acks, transactions, random };
const judge = new Judge({ listed: DIFFERENCES, rules: RULES, main: 'command', name: 'RabbitMQ' });
const skip = missing() ?? (!canStart() && 'needs a server of its own: set STENTOR_BIN');

describe('against RabbitMQ', { skip }, () => {
  let servers;
  before(async () => (servers = await startBoth()));
  after(() => servers?.stop());

  let count = 0;
  for (const [group, cases] of Object.entries(groups)) {
    describe(group, { concurrency: 4 }, () => {
      for (const [name, steps] of Object.entries(cases)) {
        const id = `case${(count += 1)}`;
        test(name, async (t) => {
          // RabbitMQ beside itself has one set of queues for both.
          const sides = [new Side(servers.theirs, `${id}a`), new Side(servers.ours, `${id}b`)];
          t.after(() => sides.forEach((side) => side.done()));
          const ends = await Promise.allSettled(sides.map((side) => side.run(steps)));
          for (const [i, { reason }] of ends.entries())
            if (reason) throw new Error(`${['RabbitMQ', 'the server under test'][i]}: ${reason.message}`, { cause: reason });
          const [theirs, ours] = sides.map(({ seen }) => seen);
          const faults = RABBIT_ALONE ? judge.differences(theirs, ours) : judge.faults(name, theirs, ours);
          assert.ok(faults.length === 0, `${faults.length} differences that are not as listed:\n${faults.join('\n')}`);
        });
      }
    });
  }

  test('names are of one case each, and every listed difference is of one', () => {
    const names = Object.values(groups).flatMap((cases) => Object.keys(cases));
    assert.equal(new Set(names).size, names.length);
    assert.deepEqual(DIFFERENCES.filter((difference) => !names.includes(difference.case)), []);
  });

  test('every rule is met somewhere', { skip: RABBIT_ALONE && 'there are no differences' }, () => {
    assert.deepEqual(judge.unmet, []);
  });
});
