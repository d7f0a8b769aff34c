import { ensureTiny } from './images/tiny.ts'; import { ensureDebian } from './images/debian.ts';
for (const f of [ensureTiny, ensureDebian]) { const t=performance.now(); console.log(await f(), performance.now()-t); }
