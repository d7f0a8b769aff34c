import { ensureDebian } from './images/debian.ts';
import { ensureTiny } from './images/tiny.ts';

for (const f of [ensureTiny, ensureDebian]) {
  const t = performance.now();
  console.log(await f(), performance.now() - t);
}
