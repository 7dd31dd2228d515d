// Lets only the latest request count. Knows neither pages nor services.

/**
 * Runs `task(signal)` once at a time. While one runs, only the newest wish is kept and all between are dropped, so that
 * a dragged slider never queues work on the server; results therefore arrive in the order of their wishes.
 */
export class Latest {
  #task;
  #running = null;
  #wished = false;

  constructor(task) {
    this.#task = task;
  }

  /** Run the task now, or once more when it ends. */
  wish() {
    this.#wished = true;
    if (this.#running === null) this.#run();
  }

  /** As `wish`, but what runs is abandoned: its result would not be wanted any more. */
  restart() {
    this.#running?.abort();
    this.#running = null;
    this.wish();
  }

  /** True while a newer wish waits than the one that runs. */
  get outdated() {
    return this.#wished;
  }

  async #run() {
    while (this.#wished) {
      const mine = new AbortController();
      this.#running = mine;
      this.#wished = false;
      try {
        await this.#task(mine.signal);
      } catch (error) {
        if (!mine.signal.aborted) throw error;
      }
      // Abandoned by `restart`, which has started another loop.
      if (this.#running !== mine) return;
    }
    this.#running = null;
  }
}
