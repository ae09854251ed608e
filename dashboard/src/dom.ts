// The few helpers with which modules reach into the page. Styles are set through the CSSOM only, so that a
// content security policy without 'unsafe-inline' holds.
import { NONE, type Quantity } from './format.ts';

/** The element with this id; the page is ours, so a missing one is a mistake in it. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found as T;
}

/** Sets text only when it changed, so that nothing is laid out or announced again in vain. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows a number large and its unit small. */
export function setQuantity(element: Element, { value, unit }: Quantity): void {
  let [figure, label] = element.children;
  if (!figure || !label) {
    figure = create('span', 'value');
    label = create('span', 'unit');
    element.replaceChildren(figure, label);
  }
  setText(figure, value);
  setText(label, value === NONE ? '' : unit);
}

export function create<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = '',
  content: string | Node[] = '',
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (typeof content === 'string') element.textContent = content;
  else element.append(...content);
  return element;
}

/** The share of a bar that is filled, 0 to 1. */
export function setShare(element: HTMLElement, share: number): void {
  element.style.setProperty('--share', String(Math.min(1, Math.max(0, share || 0))));
}

/** Brings `parent` to hold `count` children of one make, keeping those it has. */
export function resize(parent: Element, count: number, make: () => Element): void {
  while (parent.children.length > count) parent.lastElementChild?.remove();
  while (parent.children.length < count) parent.append(make());
}
