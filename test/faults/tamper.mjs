/**
 * Stands in a host's way to the control plane, as the control plane: ends TLS with its key, and passes everything on. Of the
 * member link's frames it makes some come twice, some again later, and sends garbage between them, both ways.
 *
 *     node tamper.mjs LISTEN-HOST:PORT TARGET-HOST:PORT CERTIFICATE KEY
 */
import { readFileSync } from 'node:fs';
import https from 'node:https';
import tls from 'node:tls';
import { WebSocket, WebSocketServer } from 'ws';

const [listen = '', target = '', certificate = '', key = ''] = process.argv.slice(2);
const parse = (text) => ({
  host: text.slice(0, text.lastIndexOf(':')),
  port: Number(text.slice(text.lastIndexOf(':') + 1)),
});
const far = { ...parse(target), rejectUnauthorized: false };
const GARBAGE = ['', '{', 'null', '[]', '{"type":"made-up"}', '{"type":"result"}', Buffer.from([0, 159, 146, 150])];
/** What may come again at any time: everything else tells what is now. */
const LATE = ['command', 'cancel', 'ack', 'result', 'result-ack'];
const draw = (items) => items[Math.floor(Math.random() * items.length)];

function typeOf(text) {
  try {
    return JSON.parse(text).type;
  } catch {
    return undefined;
  }
}

/** One way of one link. `isUp` becomes true with the welcome: before that nobody listens to anything but the handshake. */
function tamper(from, to, link) {
  const sent = [];
  from.on('message', (data, binary) => {
    const send = (message, options) => to.readyState === WebSocket.OPEN && to.send(message, options);
    send(data, { binary });
    const text = data.toString();
    const type = typeOf(text);
    if (type === 'welcome') link.isUp = true;
    if (!link.isUp || binary) return;
    if (Math.random() < 0.5) send(text);
    if (LATE.includes(type)) sent.push(text);
    if (sent.length > 0 && Math.random() < 0.3) send(draw(sent));
    if (Math.random() < 0.3) send(draw(GARBAGE));
  });
  from.on('error', () => to.terminate());
  from.on('close', () => to.terminate());
}

const links = new WebSocketServer({ noServer: true, perMessageDeflate: false });

function passLink(request, socket, head) {
  const headers = { host: request.headers.host };
  const up = new WebSocket(`wss://${target}${request.url}`, { ...far, headers, perMessageDeflate: false });
  up.on('error', () => socket.destroy());
  up.on('open', () => {
    up.pause();
    links.handleUpgrade(request, socket, head, (down) => {
      const link = { isUp: false };
      tamper(up, down, link);
      tamper(down, up, link);
      up.resume();
    });
  });
}

/** Any other websocket, byte for byte. */
function passSocket(request, socket, head) {
  const up = tls.connect(far, () => {
    const lines = [`${request.method} ${request.url} HTTP/1.1`];
    for (let at = 0; at < request.rawHeaders.length; at += 2) {
      lines.push(`${request.rawHeaders[at]}: ${request.rawHeaders[at + 1]}`);
    }
    up.write(`${lines.join('\r\n')}\r\n\r\n`);
    up.write(head);
    up.pipe(socket);
    socket.pipe(up);
  });
  for (const [one, other] of [
    [up, socket],
    [socket, up],
  ]) {
    one.on('error', () => other.destroy());
    one.on('close', () => other.destroy());
  }
}

function passRequest(request, response) {
  const { method, url, headers } = request;
  const up = https.request({ ...far, method, path: url, headers, agent: false }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
    answer.on('error', () => response.destroy());
  });
  up.on('error', () => response.destroy());
  request.on('error', () => up.destroy());
  request.pipe(up);
}

https
  .createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, passRequest)
  .on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy());
    if (request.url.startsWith('/agent/link')) passLink(request, socket, head);
    else passSocket(request, socket, head);
  })
  .listen(parse(listen));
