// The nodes that make one broker together. Where there is one alone, or it does not speak of itself, nothing is shown.
import { byId, create, resize, setText } from './dom.ts';
import { NONE, age, count, text } from './format.ts';
import type { ClusterNode, Nodes } from './types.ts';

/** A row of the table, as texts. */
export interface NodeRow {
  name: string;
  status: string;
  /** Whether clients are sent there as ever. */
  isWell: boolean;
  connections: string;
  uptime: string;
  version: string;
}

export class NodesPanel {
  #section = byId('nodes');

  /** Shows the nodes of `value`; undefined where the topic was cleared. */
  update(value: unknown): void {
    const rows = nodeRows(value, Date.now());
    this.#section.hidden = rows.length < 2;
    if (rows.length < 2) return;
    const body = byId('node-rows');
    resize(body, rows.length, makeRow);
    rows.forEach(({ name, status, isWell, connections, uptime, version }, i) => {
      const row = body.children[i];
      if (!(row instanceof HTMLElement)) return;
      row.dataset.well = String(isWell);
      [name, status, connections, uptime, version].forEach((cell, at) => setText(row.children[at] ?? row, cell));
    });
    const well = rows.filter(({ isWell }) => isWell).length;
    setText(byId('nodes-note'), well === rows.length ? `${well}, all well` : `${well} of ${rows.length} are well`);
  }
}

/** What is shown of each node of a message, ordered by name; none where it is no such message. `now` is in milliseconds. */
export function nodeRows(value: unknown, now: number): NodeRow[] {
  const nodes = (value as Partial<Nodes> | null | undefined)?.nodes;
  if (!Array.isArray(nodes)) return [];
  return [...nodes]
    .filter((node): node is ClusterNode => typeof node?.node === 'string')
    .sort((a, b) => (a.node < b.node ? -1 : a.node > b.node ? 1 : a.since - b.since || 0))
    .map(({ node, status, connections, since, version }) => ({
      name: node,
      status: status || NONE,
      isWell: status === 'ok',
      connections: text(count(connections)),
      uptime: Number.isFinite(since) ? age(Math.max(0, now - since) / 1000) : NONE,
      version: version || NONE,
    }));
}

function makeRow(): HTMLElement {
  const name = create('th');
  name.scope = 'row';
  return create('tr', '', [name, create('td'), create('td'), create('td'), create('td')]);
}
