// A front end of live metrics as its documentation has it: SockJS, stomp.js, four seconds of heart-beat either way.
// Runs unchanged in Node and in a browser, which bring `SockJS` and `Client` each their own way.

/** Connects to the server at `url`; `on` has `connected`, `metrics` and `closed`. */
export function liveMetrics(SockJS, Client, url, on) {
  const client = new Client({
    webSocketFactory: () => new SockJS(`${url}/ws`),
    reconnectDelay: 5000,
    heartbeatIncoming: 4000,
    heartbeatOutgoing: 4000,
    onConnect: () => {
      on.connected();
      client.subscribe('/topic/metrics', (message) => on.metrics(JSON.parse(message.body)));
      client.publish({ destination: '/app/subscribe', body: '' });
    },
    onWebSocketClose: () => on.closed(),
  });
  client.activate();
  return client;
}
