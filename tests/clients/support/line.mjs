// A line to a server, as it goes through a tunnel: cut at a moment of the test's choosing, without a word to either side,
// and down until it is mended; or stalled, so that nothing gets through and nothing is lost.
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/** A line to the server at `url`, until test `t` ends: `{ url, cut, mend, stall, resume }`. */
export async function lineTo(t, url) {
  const { hostname, port } = new URL(url);
  const sockets = new Set();
  let down = false;
  let stalled = false;
  const server = createServer((client) => {
    if (down) return void client.destroy();
    const far = connect({ host: hostname, port: Number(port), noDelay: true });
    for (const [socket, other] of [[client, far], [far, client]]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.on('data', (octets) => other.write(octets));
      if (stalled) socket.pause();
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => {
    down = true;
    for (const socket of sockets) socket.destroy();
  };
  const stall = () => {
    stalled = true;
    for (const socket of sockets) socket.pause();
  };
  const resume = () => {
    stalled = false;
    for (const socket of sockets) socket.resume();
  };
  t.after(() => {
    cut();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, cut, mend: () => void (down = false), stall, resume };
}
