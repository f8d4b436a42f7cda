// Elements made of text: nothing that was asked is ever read as HTML.

type Child = Node | string | null | undefined;
type Attributes = Record<string, string | boolean | null | undefined>;

/** An element with attributes and children; strings become text nodes. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, '');
    else if (typeof value === 'string') element.setAttribute(name, value);
  }
  element.append(...children.filter((child): child is Node | string => child != null));
  return element;
}

/** The element of that id, which the page has. */
export function the<T extends HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element as T;
}

/** Sets a text only if it is another one: screen readers and selections are left alone. */
export function say(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Term and description, several times. */
export function facts(list: HTMLElement, pairs: [string, Child | Child[]][]): void {
  const key = (child: Child | Child[]): string =>
    Array.isArray(child) ? child.map(key).join('|') : child instanceof Node ? (child.textContent ?? '') : String(child ?? '');
  const now = pairs.map(([term, value]) => `${term}=${key(value)}`).join('\n');
  if (list.dataset.now === now) return;
  list.dataset.now = now;
  list.replaceChildren(
    ...pairs.map(([term, value]) =>
      h('div', {}, h('dt', {}, term), h('dd', {}, ...(Array.isArray(value) ? value : [value]))),
    ),
  );
}
