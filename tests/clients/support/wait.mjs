// Waiting for conditions, each with a bound and a name that a failure shows.

/** The value of `promise`, or an error that says what did not come in time. */
export async function within(milliseconds, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      const wanted = typeof what === 'function' ? what() : what;
      reject(new Error(`waited ${milliseconds} ms for ${wanted}`));
    }, milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks `condition` again and again until it is truthy, and gives what it gave. Errors count as "not yet". */
export async function eventually(milliseconds, what, condition) {
  const end = Date.now() + milliseconds;
  let last;
  for (;;) {
    try {
      const value = await condition();
      if (value) return value;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`waited ${milliseconds} ms for ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** A list that grows, and that can be waited for. */
export class Inbox {
  items = [];
  #waiting = new Set();

  push(item) {
    this.items.push(item);
    for (const check of this.#waiting) check();
  }

  /** The first item that `wanted` accepts, come or yet to come. */
  first(wanted, what, milliseconds = 5000) {
    return this.#until(() => this.items.find(wanted), what, milliseconds);
  }

  /** All items, once there are `n`. */
  atLeast(n, milliseconds = 5000) {
    const what = () => `${n} messages, of which ${this.items.length} came`;
    return this.#until(() => (this.items.length >= n ? this.items : undefined), what, milliseconds);
  }

  #until(look, what, milliseconds) {
    let check;
    const found = new Promise((resolve) => {
      check = () => {
        const value = look();
        if (value !== undefined) resolve(value);
      };
      this.#waiting.add(check);
      check();
    });
    return within(milliseconds, found, what).finally(() => this.#waiting.delete(check));
  }
}
