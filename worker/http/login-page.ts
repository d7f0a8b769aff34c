/**
 * The pages on which a person allows a program to log in. Plain HTML without a script; everything shown is escaped by
 * `html`. Nothing may frame them, load anything into them, or be sent their forms.
 */
import { html, raw } from 'hono/html';

type Html = ReturnType<typeof html>;

const STYLE = `
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 0 auto; padding: 3rem 1.25rem; max-width: 24rem; }
h1 { font-size: 1.35rem; margin: 0 0 1rem; }
label { display: block; margin: 1rem 0 .25rem; font-weight: 600; }
input { box-sizing: border-box; width: 100%; font: inherit; padding: .5rem .625rem; border: 1px solid #8888; border-radius: .375rem; }
input[name=user_code], strong.code { font-family: ui-monospace, monospace; letter-spacing: .08em; text-transform: uppercase; }
button { font: inherit; font-weight: 600; margin: 1.5rem .5rem 0 0; padding: .5rem 1.25rem; border: 1px solid #2563eb; border-radius: .375rem; background: #2563eb; color: #fff; }
button.plain { background: transparent; color: inherit; border-color: #8888; }
p[role=alert] { border-left: .25rem solid #dc2626; padding-left: .75rem; }
`;

/** Answers a page. The style is let in by a nonce that is new each time. */
export async function page(title: string, body: Html, status = 200, more: Record<string, string> = {}) {
  const nonce = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16))));
  const document = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} · Longshore</title>
<style nonce="${nonce}">${raw(STYLE)}</style>
</head>
<body>
<main>
<h1>${title}</h1>
${body}
</main>
</body>
</html>
`;
  return new Response(String(await document), {
    status,
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': `default-src 'none'; style-src 'nonce-${nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cross-origin-opener-policy': 'same-origin',
      'cache-control': 'no-store',
      ...more,
    },
  });
}

/** Name, password and the code that the program shows. `form` comes back with them. */
export const loginForm = (fields: { form: string; userCode: string; name: string; refusal: string }): Html => html`
${fields.refusal === '' ? '' : html`<p role="alert">${fields.refusal}</p>`}
<form method="post" action="/issuer/login">
<input type="hidden" name="form" value="${fields.form}">
<label for="user_code">Code shown by the program</label>
<input id="user_code" name="user_code" value="${fields.userCode}" autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="16" required>
<label for="name">User name</label>
<input id="name" name="name" value="${fields.name}" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="63" required>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="256" required>
<button type="submit">Log in</button>
</form>`;

/** What is about to be allowed, for who has just given the right password. */
export const decisionForm = (fields: {
  form: string;
  userName: string;
  userCode: string;
  address: string;
  askedAt: string;
}): Html => html`
<p>A program at ${fields.address === '' ? 'an unknown address' : html`<strong>${fields.address}</strong>`} asked at
<time datetime="${fields.askedAt}">${fields.askedAt.slice(11, 19)} UTC</time> to act as <strong>${fields.userName}</strong>.
Its code is <strong class="code">${fields.userCode}</strong>.</p>
<p>Allow it only if you have started it yourself and it shows this code.</p>
<form method="post" action="/issuer/login/decision">
<input type="hidden" name="form" value="${fields.form}">
<button type="submit" name="decision" value="allow">Allow</button>
<button type="submit" name="decision" value="deny" class="plain">Deny</button>
</form>`;

export const note = (text: string): Html => html`<p>${text}</p>`;
