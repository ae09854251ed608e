// The form that posts a sample event, and the shell line that does the same.
import { byId, setText } from './dom.ts';
import { curl } from './format.ts';

export interface SampleEvent {
  eventType: string;
  source: string;
  severity: string;
  metadata?: { latency: number | string };
}

/** What the server answers to a POST, accepted or not. */
interface Answer {
  eventId?: string;
  message?: string;
  errors?: Record<string, string>;
}

const URL_PATH = '/api/v1/events';
/** Where the server's name of a field is not the form's. */
const FIELDS: Record<string, string> = { metadata: 'latency', 'metadata.latency': 'latency' };

/** Makes the form work, and the places that show a shell line show one. */
export function setUpForm(): void {
  const form = byId<HTMLFormElement>('post-form');
  const answer = byId('post-answer');
  const button = form.querySelector('button');
  const showCommand = () => {
    const command = curl(location.origin + URL_PATH, read(form));
    setText(byId('post-curl'), command);
    setText(byId('empty-curl'), command);
  };
  showCommand();
  form.addEventListener('input', showCommand);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (button?.disabled) return;
    if (button) button.disabled = true;
    void post(read(form))
      .then(({ text, errors, accepted }) => {
        answer.dataset.outcome = accepted ? 'accepted' : 'refused';
        setText(answer, showErrors(form, errors, text));
      })
      .finally(() => {
        if (button) button.disabled = false;
      });
  });
  setUpCopying();
}

function read(form: HTMLFormElement): SampleEvent {
  const data = new FormData(form);
  const field = (name: string) => String(data.get(name) ?? '').trim();
  const latency = field('latency');
  return {
    eventType: field('eventType'),
    source: field('source'),
    severity: field('severity'),
    // What is no number goes as it is: it is the server that judges.
    ...(latency === '' ? {} : { metadata: { latency: Number.isFinite(Number(latency)) ? Number(latency) : latency } }),
  };
}

async function post(event: SampleEvent): Promise<{ accepted: boolean; text: string; errors: Record<string, string> }> {
  try {
    const response = await fetch(URL_PATH, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(event),
    });
    const answer = (await response.json().catch(() => ({}))) as Answer;
    if (response.ok) return { accepted: true, text: `Accepted as ${answer.eventId ?? 'an event'}`, errors: {} };
    return { accepted: false, text: answer.message ?? `Refused with status ${response.status}`, errors: answer.errors ?? {} };
  } catch {
    return { accepted: false, text: 'Not sent: the server does not answer', errors: {} };
  }
}

/** Puts each error at its field and the keyboard into the first; what belongs to no field is added to `text`. */
function showErrors(form: HTMLFormElement, errors: Record<string, string>, text: string): string {
  const left = new Map(Object.entries(errors).map(([field, why]) => [FIELDS[field] ?? field, why]));
  let firstWrong: HTMLElement | undefined;
  for (const control of form.querySelectorAll<HTMLInputElement | HTMLSelectElement>('input, select')) {
    const why = left.get(control.name);
    left.delete(control.name);
    setText(byId(`${control.id}-error`), why ?? '');
    if (why === undefined) {
      control.removeAttribute('aria-invalid');
    } else {
      control.setAttribute('aria-invalid', 'true');
      firstWrong ??= control;
    }
  }
  firstWrong?.focus();
  return [text, ...[...left].map(([field, why]) => `${field} ${why}`)].join('; ');
}

/** Buttons that copy the text of another element; hidden where the page may not. */
function setUpCopying(): void {
  for (const button of document.querySelectorAll<HTMLButtonElement>('button.copy')) {
    const source = byId(button.dataset.copies ?? '');
    if (!navigator.clipboard) {
      button.hidden = true;
      continue;
    }
    button.addEventListener('click', () => {
      void navigator.clipboard.writeText(source.textContent ?? '').then(
        () => confirmCopy(button, 'Copied'),
        () => confirmCopy(button, 'Not copied'),
      );
    });
  }
}

function confirmCopy(button: HTMLButtonElement, text: string): void {
  setText(button, text);
  setTimeout(() => setText(button, 'Copy'), 1500);
}
