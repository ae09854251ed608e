// Runs a command beside one RabbitMQ that all tests in it share, where there is one to be had:
// node support/with-rabbit.mjs COMMAND...
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { DOORS, missing, startRabbit } from './rabbitmq.mjs';

const rabbit = missing() ? undefined : await startRabbit(Object.keys(DOORS));
const [command, ...args] = process.argv.slice(2);
const child = spawn(command, args, {
  stdio: 'inherit',
  env: { ...process.env, ...(rabbit && { RABBITMQ_PORTS: JSON.stringify(rabbit.ports) }) },
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
const [code] = await once(child, 'exit');
await rabbit?.stop();
process.exitCode = code ?? 1;
