// What two servers answered to one script, compared: every difference must be listed with its reason, and every one that is
// listed must be there.
import assert from 'node:assert/strict';

/**
 * A judge of what was written down on either side, two maps from steps to values or to objects of fields.
 *
 * - `listed`: single differences, `{ case, steps, theirs, ours, why }`. `theirs` and `ours` are values, or objects of the
 *   fields that differ; a value may be a RegExp or a function. A field of one side only may be anything on the other.
 * - `rules`: what differs in a field at every answer of which `when(theirs, ours)` says so, `{ field, when, theirs, ours, why }`.
 * - `main`: the field beside which nothing else of an answer is compared where it differs as listed.
 */
export class Judge {
  #met = new Set();

  constructor({ listed, rules, main, name }) {
    Object.assign(this, { listed, rules, main, name });
  }

  /** Lines that tell what is not as listed in the case `name`. */
  faults(name, theirs, ours) {
    return this.#faults(name, theirs, ours).map((item) => this.#said(item));
  }

  /** Lines that tell all differences, for servers that should have none. */
  differences(theirs, ours) {
    return differences(theirs, ours).map((item) => this.#said(item));
  }

  /** Rules that no answer met in any case so far. */
  get unmet() {
    return this.rules.filter((rule) => !this.#met.has(rule));
  }

  #faults(name, theirs, ours) {
    const faults = [];
    const listed = this.listed.filter((difference) => difference.case === name).flatMap(expected);
    const other = new Set(listed.filter(({ field }) => field === this.main).map(({ step }) => step));
    const rules = (step) => this.rules.filter(({ when }) => !other.has(step) && when(theirs.get(step) ?? {}, ours.get(step) ?? {}, step));
    for (const item of differences(theirs, ours)) {
      const known = listed.find(({ step, field }) => step === item.step && field === item.field);
      if (known) {
        known.met += 1;
        if (!fits(known.theirs, item.theirs) || !fits(known.ours, item.ours)) faults.push({ ...item, expected: known });
      } else if (
        !other.has(item.step) &&
        !rules(item.step).some((rule) => rule.field === item.field && fits(rule.theirs, item.theirs) && fits(rule.ours, item.ours))
      ) {
        faults.push(item);
      }
    }
    for (const item of listed) if (item.met === 0) faults.push({ ...item, fault: 'listed, but there is no such difference' });
    for (const [step, answer] of ours) {
      for (const rule of rules(step)) {
        this.#met.add(rule);
        if (listed.some((item) => item.step === step && item.field === rule.field)) continue;
        const [a, b] = [theirs.get(step), answer].map((side) => (rule.field === '' ? side : side?.[rule.field]));
        if (!fits(rule.theirs, a) || !fits(rule.ours, b))
          faults.push({ step, field: rule.field, theirs: a, ours: b, fault: 'a rule that does not hold' });
      }
    }
    return faults;
  }

  #said({ step, field, theirs, ours, expected: known, fault }) {
    const short = (value) => (value === undefined ? 'absent' : (JSON.stringify(value) ?? String(value)).slice(0, 300));
    const wanted = known ? `; listed as ${short(known.theirs)} and ${short(known.ours)}` : '';
    return `  ${step} | ${field}: ${this.name} ${short(theirs)}, ours ${short(ours)}${wanted}${fault ? ` (${fault})` : ''}`;
  }
}

/** A side of which nothing is said. */
const ANY = () => true;

function expected({ steps, theirs, ours }) {
  return steps.flatMap((step) => {
    if (theirs?.constructor !== Object) return [{ step, field: '', theirs, ours, met: 0 }];
    const of = (side, field) => (Object.hasOwn(side, field) ? side[field] : ANY);
    const fields = [...new Set([...Object.keys(theirs), ...Object.keys(ours)])];
    return fields.map((field) => ({ step, field, theirs: of(theirs, field), ours: of(ours, field), met: 0 }));
  });
}

/** Every single value that was written down, by step and field. */
function flat(seen) {
  const values = new Map();
  for (const [step, value] of seen) {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) values.set(step, { step, field: '', value });
    else for (const [field, single] of Object.entries(value)) values.set(`${step} | ${field}`, { step, field, value: single });
  }
  return values;
}

function differences(theirs, ours) {
  const [a, b] = [flat(theirs), flat(ours)];
  const found = [];
  for (const key of new Set([...a.keys(), ...b.keys()])) {
    const { step, field } = a.get(key) ?? b.get(key);
    const item = { step, field, theirs: a.get(key)?.value, ours: b.get(key)?.value };
    if (!same(item.theirs, item.ours)) found.push(item);
  }
  return found;
}

const fits = (wanted, value) => {
  if (wanted instanceof RegExp) return typeof value === 'string' && wanted.test(value);
  if (typeof wanted === 'function') return Boolean(wanted(value));
  return same(wanted, value);
};

function same(a, b) {
  try {
    assert.deepEqual(a, b);
    return true;
  } catch {
    return false;
  }
}
