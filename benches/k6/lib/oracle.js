// The judge of one person's channel: what came, held against what history has and what was acknowledged.
//
// Everybody numbers what they say, one after the other, each message until it is acknowledged: so the
// numbers of a speaker have no hole in history either.

import { lost, reordered, repeated } from './metrics.js';

/** Ids are decimal strings of 64 bits, which JavaScript's numbers do not hold. */
const compare = (a, b) => a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
export const isAbove = (a, b) => compare(a, b) > 0;

export class Oracle {
  constructor(tags) {
    this.tags = tags;
    /** The highest id that came. */
    this.cursor = '0';
    /** Up to where everything was held against history. */
    this.settled = '0';
    /** Ids above that which came. */
    this.came = new Set();
    /** Ids above that which this person was told are stored. */
    this.acknowledged = new Set();
    /** By speaker, the last number in history. */
    this.numbers = {};
  }

  /** A message came. Whether it is news. */
  take(id) {
    if (this.came.has(id) || !isAbove(id, this.settled)) {
      this.fault(repeated, `${id} came again`);
      return false;
    }
    this.came.add(id);
    if (!isAbove(id, this.cursor)) {
      this.fault(reordered, `${id} came behind ${this.cursor}`);
      return true;
    }
    this.cursor = id;
    return true;
  }

  /** Holds all up to `upto` against `history`, which is oldest first what the channel has beyond `settled`. */
  settle(history, upto) {
    let before = this.settled;
    for (const { message_id: id, message_from: from, content } of history) {
      if (isAbove(id, upto)) break;
      if (!isAbove(id, before)) this.fault(reordered, `history has ${id} behind ${before}`);
      before = id;
      if (!this.came.delete(id)) this.fault(lost, `${id} did not come`);
      this.acknowledged.delete(id);
      const { n } = JSON.parse(content);
      const last = this.numbers[from] || 0;
      if (n > last + 1) this.fault(lost, `history has ${n} of ${from} behind ${last}`, n - last - 1);
      if (n === last) this.fault(repeated, `history has ${n} of ${from} twice`);
      if (n < last) this.fault(reordered, `history has ${n} of ${from} behind ${last}`);
      this.numbers[from] = n;
    }
    const isDone = (id) => !isAbove(id, upto);
    for (const id of [...this.acknowledged].filter(isDone)) this.fault(lost, `${id} was acknowledged and is not in history`);
    for (const id of [...this.came].filter(isDone)) this.fault(repeated, `${id} came and is not in history`);
    for (const ids of [this.acknowledged, this.came]) [...ids].filter(isDone).forEach((id) => ids.delete(id));
    this.settled = upto;
    // So that the counts are there if nothing happened.
    for (const metric of [lost, repeated, reordered]) metric.add(0, this.tags);
  }

  fault(metric, what, count = 1) {
    metric.add(count, this.tags);
    console.error(`${this.tags.transport}: ${metric.name}: ${what}`);
  }
}
