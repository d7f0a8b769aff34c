/** `longshore token`: bearer tokens for tools that have no client certificate. */
import { defineCommand } from 'citty';
import { z } from 'zod';
import { badRequest, notFound } from '#protocol/errors.ts';
import { columns } from './columns.ts';
import { askLocally, CONFIG_ARG } from './local-api.ts';
import { reporting } from './reporting.ts';

const PATH = '/1.0/auth/tokens';

const Token = z.object({
  id: z.string(),
  name: z.string(),
  scope: z.string(),
  projects: z.array(z.string()).nullable(),
  expires_at: z.string(),
});
type Token = z.infer<typeof Token>;
const Issued = Token.extend({ token: z.string() });

const issue = defineCommand({
  meta: { name: 'issue', description: 'Issue a token; it is printed this once' },
  args: {
    name: { type: 'positional', description: 'What it is for, for people', required: true },
    scope: { type: 'string', description: 'full, read-only or metrics', default: 'full' },
    projects: { type: 'string', description: 'Names separated by commas; all of them when absent' },
    expiry: { type: 'string', description: 'How long it is good: 12H, 30d, 1y', default: '30d' },
    config: CONFIG_ARG,
  },
  run: ({ args }) =>
    reporting(async () => {
      const { name, scope, expiry } = args;
      const projects = args.projects?.split(',').filter(Boolean) ?? null;
      const answer = await askLocally(args.config, 'POST', PATH, { name, scope, projects, expiry });
      const { id, token, expires_at } = Issued.parse(answer);
      console.error(`Token ${id} is good until ${expires_at}. It is shown this once:`);
      console.log(token);
    }),
});

const list = defineCommand({
  meta: { name: 'list', description: 'List the tokens that are good' },
  args: { config: CONFIG_ARG },
  run: ({ args }) =>
    reporting(async () => {
      const tokens = await readTokens(args.config);
      const rows = tokens.map(({ id, name, scope, projects, expires_at }) => [
        id,
        name,
        scope,
        projects?.join(',') ?? '(all)',
        expires_at,
      ]);
      console.log(columns(['ID', 'NAME', 'SCOPE', 'PROJECTS', 'EXPIRES AT'], rows));
    }),
});

const revoke = defineCommand({
  meta: { name: 'revoke', description: 'Revoke a token, from the next request on' },
  args: {
    token: { type: 'positional', description: 'Its id, or its name when only one has it', required: true },
    config: CONFIG_ARG,
  },
  run: ({ args }) =>
    reporting(async () => {
      const { id, name } = pickToken(await readTokens(args.config), args.token);
      await askLocally(args.config, 'DELETE', `${PATH}/${id}`);
      console.log(`Token ${id} ("${name}") is revoked`);
    }),
});

export const token = defineCommand({
  meta: { name: 'token', description: 'Bearer tokens for tools without a client certificate' },
  subCommands: { issue, list, revoke },
});

const readTokens = async (config: string): Promise<Token[]> =>
  z.array(Token).parse(await askLocally(config, 'GET', `${PATH}?recursion=1`));

function pickToken(tokens: Token[], wanted: string): Token {
  const [found, ...more] = tokens.filter(({ id, name }) => id === wanted || name === wanted);
  if (found === undefined) throw notFound('Token');
  if (more.length > 0) throw badRequest(`Several tokens are named "${wanted}": say which by its id`);
  return found;
}
