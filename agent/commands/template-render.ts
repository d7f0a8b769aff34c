/**
 * The part of the template language that images use: `{{ expression }}` and `{% if a == b %} … {% else %} … {% endif %}`,
 * where an expression is a dotted name, a string, or `config_get("key", default)`. Pure.
 */

export interface TemplateContext {
  /** Dotted names: `instance.name`, `properties.os`. */
  values: Readonly<Record<string, string>>;
  config: Readonly<Record<string, string>>;
}

/** A construct that is not understood; the message shows it. */
export class TemplateError extends Error {}

type Token = { kind: 'text' | 'expression' | 'tag'; text: string };

/** Renders; throws `TemplateError`. Unknown names are empty, as in LXD. */
export function renderTemplate(template: string, context: TemplateContext): string {
  let output = '';
  /** For each open `if`: is this branch shown, has any been. */
  const stack: { shown: boolean; parent: boolean }[] = [];
  for (const token of tokenize(template)) {
    const visible = stack.every((frame) => frame.shown);
    if (token.kind === 'text') output += visible ? token.text : '';
    else if (token.kind === 'expression') output += visible ? evaluate(token.text, context) : '';
    else applyTag(token.text, stack, visible, context);
  }
  if (stack.length > 0) throw new TemplateError('if without endif');
  return output;
}

function tokenize(template: string): Token[] {
  return template.split(/(\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\})/s).flatMap((text): Token[] => {
    if (text.startsWith('{{')) return [{ kind: 'expression', text: inner(text) }];
    if (text.startsWith('{%')) return [{ kind: 'tag', text: inner(text) }];
    return text === '' || text.startsWith('{#') ? [] : [{ kind: 'text', text }];
  });
}

const inner = (text: string) => text.slice(2, -2).replace(/^-|-$/g, '').trim();

function applyTag(
  tag: string,
  stack: { shown: boolean; parent: boolean }[],
  visible: boolean,
  context: TemplateContext,
): void {
  const top = stack.at(-1);
  if (tag.startsWith('if ')) stack.push({ shown: visible && test(tag.slice(3), context), parent: visible });
  else if (tag === 'else' && top !== undefined) top.shown = top.parent && !top.shown;
  else if (tag === 'endif' && top !== undefined) stack.pop();
  else throw new TemplateError(`{% ${tag} %}`);
}

function test(condition: string, context: TemplateContext): boolean {
  const comparison = /^(.+?)\s*(==|!=)\s*(.+)$/.exec(condition.trim());
  if (comparison === null) return evaluate(condition, context) !== '';
  const [, left = '', operator, right = ''] = comparison;
  return (evaluate(left, context) === evaluate(right, context)) === (operator === '==');
}

function evaluate(expression: string, context: TemplateContext): string {
  // Filters only escape, and what we write is not HTML.
  const text = expression.replace(/\|\s*safe\s*$/, '').trim();
  const literal = /^"([^"]*)"$|^'([^']*)'$/.exec(text);
  if (literal !== null) return literal[1] ?? literal[2] ?? '';
  const call = /^config_get\(\s*("[^"]*"|'[^']*')\s*,\s*(.+)\)$/s.exec(text);
  if (call !== null) return context.config[(call[1] ?? '').slice(1, -1)] ?? evaluate(call[2] ?? '', context);
  if (/^[A-Za-z_][\w.-]*$/.test(text)) return context.values[text] ?? '';
  throw new TemplateError(`{{ ${text} }}`);
}
