// Clients of RabbitMQ that know nothing of Stentor, behind one face: what each protocol calls differently is here.
import { Client } from '@stomp/stompjs';
import { TCPWrapper } from '@stomp/tcp-wrapper';
import amqp from 'amqplib';
import mqtt from 'mqtt';
import { receipted } from './stomp.mjs';
import { Inbox, within } from './wait.mjs';

/*
 * `open(t, rabbit)` gives, until test `t` ends:
 * - `publish(key, body)`: done when RabbitMQ has it
 * - `subscribe(key)`: the inbox of `{ key, body }` of what comes under `key`, bound when it resolves
 */
export const FOREIGN = {
  'AMQP, amqplib': { open: openAmqp },
  'MQTT, mqtt.js': { open: openMqtt },
  'STOMP over TCP, stomp.js': { open: (t, rabbit) => openStomp(t, () => new TCPWrapper('127.0.0.1', rabbit.ports.stomp)) },
  'STOMP over WebSocket, stomp.js': {
    open: (t, rabbit) => openStomp(t, () => new WebSocket(`ws://127.0.0.1:${rabbit.ports.webStomp}/ws`, ['v12.stomp'])),
  },
};

/** The doors of RabbitMQ that these come by. */
export const DOORS = ['amqp', 'stomp', 'webStomp', 'mqtt'];

/** A channel whose publishes are confirmed, and beside it `bound(key)`: a queue of one's own with what comes under `key`. */
export async function amqpChannel(t, rabbit) {
  const connection = await amqp.connect(rabbit.url);
  t.after(() => connection.close().catch(() => {}));
  const channel = await connection.createConfirmChannel();
  /** Publishes and waits for the confirm. */
  channel.send = async (exchange, key, body, options) => {
    channel.publish(exchange, key, Buffer.from(body), options);
    await channel.waitForConfirms();
  };
  /** The inbox of what comes to `queue`, messages as amqplib has them. */
  channel.taken = async (queue, options = { noAck: true }) => {
    const inbox = new Inbox();
    await channel.consume(queue, (message) => inbox.push(message), options);
    return inbox;
  };
  channel.bound = async (key) => {
    const { queue } = await channel.assertQueue('', { exclusive: true });
    await channel.bindQueue(queue, 'amq.topic', key);
    return channel.taken(queue);
  };
  return channel;
}

async function openAmqp(t, rabbit) {
  const channel = await amqpChannel(t, rabbit);
  return {
    publish: (key, body) => channel.send('amq.topic', key, body),
    subscribe: async (key) => mapped(await channel.bound(key), ({ fields, content }) => ({ key: fields.routingKey, body: content.toString() })),
  };
}

async function openMqtt(t, rabbit) {
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${rabbit.ports.mqtt}`, { username: 'guest', password: 'guest', reconnectPeriod: 0 });
  t.after(() => client.endAsync(true));
  const slashes = (key) => key.replaceAll('.', '/');
  return {
    publish: (key, body) => client.publishAsync(slashes(key), body, { qos: 1 }),
    async subscribe(key) {
      const inbox = new Inbox();
      client.on('message', (topic, body) => inbox.push({ key: topic.replaceAll('/', '.'), body: body.toString() }));
      await client.subscribeAsync(slashes(key), { qos: 1 });
      return inbox;
    },
  };
}

async function openStomp(t, webSocketFactory) {
  const client = new Client({
    webSocketFactory,
    connectHeaders: { login: 'guest', passcode: 'guest', host: '/' },
    reconnectDelay: 0,
    heartbeatIncoming: 0,
    heartbeatOutgoing: 0,
  });
  t.after(() => client.deactivate({ force: true }));
  const connected = new Promise((resolve, reject) => {
    client.onConnect = resolve;
    client.onStompError = ({ headers, body }) => reject(new Error(`ERROR ${headers.message}: ${body}`));
  });
  client.activate();
  await within(10_000, connected, 'CONNECTED of RabbitMQ');
  return {
    publish: (key, body) => receipted(client, (receipt) => client.publish({ destination: `/topic/${key}`, body, headers: { receipt } })),
    async subscribe(key) {
      const inbox = new Inbox();
      const took = ({ headers, body }) => inbox.push({ key: headers.destination.replace('/topic/', ''), body });
      await receipted(client, (receipt) => client.subscribe(`/topic/${key}`, took, { receipt }));
      return inbox;
    },
  };
}

/** An inbox of what `one` makes of what comes to another. */
function mapped(inbox, one) {
  const made = new Inbox();
  inbox.items.forEach((item) => made.push(one(item)));
  inbox.push = (item) => made.push(one(item));
  return made;
}
