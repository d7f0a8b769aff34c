/** `longshore user`: people who log in by the built-in OIDC issuer. */
import { defineCommand } from 'citty';
import { z } from 'zod';
import { openTerminal } from '../prompt/terminal.ts';
import { columns } from './columns.ts';
import { askLocally, CONFIG_ARG } from './local-api.ts';
import { reporting } from './reporting.ts';

const USERS = '/1.0/auth/users';

const User = z.object({
  name: z.string(),
  projects: z.array(z.string()).nullable(),
  read_only: z.boolean(),
  created_at: z.string(),
});
const NewUser = User.extend({ password: z.string().optional() });

const urlOf = (name: string) => `${USERS}/${encodeURIComponent(name)}`;
const name = { type: 'positional', description: 'Name of the user', required: true } as const;

const add = defineCommand({
  meta: { name: 'add', description: 'Let somebody log in; prints the password' },
  args: {
    name,
    projects: { type: 'string', description: 'Only these projects, separated by commas' },
    'read-only': { type: 'boolean', description: 'May look, and change nothing', default: false },
    'ask-password': { type: 'boolean', description: 'Ask for a password instead of making one', default: false },
    config: CONFIG_ARG,
  },
  run: ({ args }) =>
    reporting(async () => {
      const password = args['ask-password'] ? await askPassword() : '';
      const projects = args.projects?.split(',').filter(Boolean) ?? null;
      const body = { name: args.name, password, projects, read_only: args['read-only'] };
      const made = NewUser.parse(await askLocally(args.config, 'POST', USERS, body));
      if (made.password === undefined) return console.log(`User "${made.name}" can log in`);
      console.error(`User "${made.name}" can log in. The password is shown this once:`);
      console.log(made.password);
    }),
});

const list = defineCommand({
  meta: { name: 'list', description: 'Who can log in' },
  args: { config: CONFIG_ARG },
  run: ({ args }) =>
    reporting(async () => {
      const users = z.array(User).parse(await askLocally(args.config, 'GET', `${USERS}?recursion=1`));
      const rows = users.map(({ name, projects, read_only, created_at }) => [
        name,
        projects?.join(',') ?? '(all)',
        read_only ? 'read-only' : 'full',
        created_at,
      ]);
      console.log(columns(['NAME', 'PROJECTS', 'SCOPE', 'CREATED AT'], rows));
    }),
});

const password = defineCommand({
  meta: { name: 'password', description: 'Set a new password; ends all logins of the user' },
  args: { name, config: CONFIG_ARG },
  run: ({ args }) =>
    reporting(async () => {
      await askLocally(args.config, 'PATCH', urlOf(args.name), { password: await askPassword() });
      console.log(`The password of "${args.name}" has changed`);
    }),
});

const remove = defineCommand({
  meta: { name: 'remove', description: 'Remove a user; ends all logins at once' },
  args: { name, config: CONFIG_ARG },
  run: ({ args }) =>
    reporting(async () => {
      await askLocally(args.config, 'DELETE', urlOf(args.name));
      console.log(`User "${args.name}" is removed`);
    }),
});

async function askPassword(): Promise<string> {
  const terminal = openTerminal(process.stdin, process.stdout);
  try {
    return await terminal.askNewPassword('Password: ');
  } finally {
    terminal.close();
  }
}

export const user = defineCommand({
  meta: { name: 'user', description: 'People who log in by OIDC without another issuer' },
  subCommands: { add, list, password, remove },
});
