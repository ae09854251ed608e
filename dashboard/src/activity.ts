// The newest task events, of which none is missing: what came while the page was away follows when it is back.
import type { GapReason } from '../../examples/stompjs/channel.mjs';
import { byId, create, setText } from './dom.ts';
import type { TaskEvent } from './types.ts';

const GAPS: Record<GapReason, string> = {
  trimmed: 'Some events are missing here: the server keeps them no longer.',
  lost: 'Events may be missing here: the server began anew.',
  unknown: 'Events may be missing here: this server does not know how far the page had come.',
};

export class ActivityPanel {
  /** Events that are shown. */
  static readonly SHOWN = 20;

  #list = byId('activity');

  /** Shows an event above the others. */
  add(value: unknown): void {
    const { task_id, type, status, progress, message, updated_at } = value as Partial<TaskEvent>;
    const when = create('time', 'when', timeOf(updated_at));
    const what = create('span', 'what', [type, task_id].filter(Boolean).join(' ') || 'event');
    const how = create('span', 'how', [status, progress === undefined ? '' : `${progress} %`, message].filter(Boolean).join(' · '));
    this.#put(create('li', '', [when, what, how]));
  }

  /** Says that something is missing below what comes next. */
  missed(reason: GapReason): void {
    this.#put(create('li', 'gap', GAPS[reason]));
  }

  #put(item: HTMLElement): void {
    this.#list.prepend(item);
    while (this.#list.children.length > ActivityPanel.SHOWN) this.#list.lastElementChild?.remove();
    byId('activity-none').hidden = true;
    setText(byId('activity-note'), `the last ${this.#list.children.length}`);
  }
}

function timeOf(moment: string | undefined): string {
  const at = new Date(moment ?? NaN);
  return Number.isNaN(at.getTime()) ? '' : at.toLocaleTimeString();
}
