/**
 * A TCP relay that holds every byte for a while in each direction: a long line.
 *
 *     node relay.mjs LISTEN-HOST:PORT TARGET-HOST:PORT DELAY-MS
 */
import net from 'node:net';

const [listen = '', target = '', delay = '0'] = process.argv.slice(2);
const parse = (text) => ({
  host: text.slice(0, text.lastIndexOf(':')),
  port: Number(text.slice(text.lastIndexOf(':') + 1)),
});
const delayMs = Number(delay);

/** Chunks keep their order: timers of one length fire in the order they were set. */
function pass(from, to) {
  from.on('data', (chunk) => setTimeout(() => to.writable && to.write(chunk), delayMs));
  from.on('end', () => setTimeout(() => to.end(), delayMs));
  from.on('error', () => to.destroy());
  from.on('close', () => setTimeout(() => to.destroy(), delayMs));
}

net
  .createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = net.connect({ ...parse(target), allowHalfOpen: true, noDelay: true });
    pass(near, far);
    pass(far, near);
  })
  .listen(parse(listen));
