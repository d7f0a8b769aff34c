/** `LIBSQL_URL=… LIBSQL_AUTH_TOKEN=… node bin/run.mjs selfhost/apply-migrations.ts`: before a deploy to Cloudflare. */
import { applyMigrations } from './migrate.ts';
import { inRepository } from './paths.ts';

const url = process.env.LIBSQL_URL;
if (url === undefined) throw new Error('LIBSQL_URL is not set');
const authToken = process.env.LIBSQL_AUTH_TOKEN;
await applyMigrations({ url, ...(authToken === undefined ? {} : { authToken }) }, inRepository('migrations'));
console.log('The database is at the current schema.');
