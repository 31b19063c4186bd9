// The oracle of one virtual user's channel: compares the received messages with history and with what was
// acknowledged.
//
// Each virtual user numbers its messages and sends the next one when the last is acknowledged: so the numbers of
// a sender have no hole in history either.

import { lost, reordered, repeated } from './metrics.js';

/** Ids are decimal strings of 64 bits, which JavaScript's numbers do not hold. */
const compare = (a, b) => a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
export const isAbove = (a, b) => compare(a, b) > 0;

export class Oracle {
  constructor(tags) {
    this.tags = tags;
    /** The highest id received. */
    this.cursor = '0';
    /** The id up to which all messages were compared with history. */
    this.settled = '0';
    /** Received ids above `settled`. */
    this.came = new Set();
    /** Acknowledged ids above `settled`. */
    this.acknowledged = new Set();
    /** By sender, the last number in history. */
    this.numbers = {};
  }

  /** Records a received message; returns whether it is new. */
  take(id) {
    if (this.came.has(id) || !isAbove(id, this.settled)) {
      this.fault(repeated, `${id} was received again`);
      return false;
    }
    this.came.add(id);
    if (!isAbove(id, this.cursor)) {
      this.fault(reordered, `${id} was received after ${this.cursor}`);
      return true;
    }
    this.cursor = id;
    return true;
  }

  /** Compares all messages up to `upto` with `history`: the channel's messages after `settled`, oldest first. */
  settle(history, upto) {
    let before = this.settled;
    for (const { message_id: id, message_from: from, content } of history) {
      if (isAbove(id, upto)) break;
      if (!isAbove(id, before)) this.fault(reordered, `history has ${id} after ${before}`);
      before = id;
      if (!this.came.delete(id)) this.fault(lost, `${id} was not received`);
      this.acknowledged.delete(id);
      const { n } = JSON.parse(content);
      const last = this.numbers[from] || 0;
      if (n > last + 1) this.fault(lost, `history has ${n} of ${from} after ${last}`, n - last - 1);
      if (n === last) this.fault(repeated, `history has ${n} of ${from} twice`);
      if (n < last) this.fault(reordered, `history has ${n} of ${from} after ${last}`);
      this.numbers[from] = n;
    }
    const isDone = (id) => !isAbove(id, upto);
    for (const id of [...this.acknowledged].filter(isDone)) this.fault(lost, `${id} was acknowledged and is not in history`);
    for (const id of [...this.came].filter(isDone)) this.fault(repeated, `${id} was received and is not in history`);
    for (const ids of [this.acknowledged, this.came]) [...ids].filter(isDone).forEach((id) => ids.delete(id));
    this.settled = upto;
    // A metric without a sample is missing from the summary.
    for (const metric of [lost, repeated, reordered]) metric.add(0, this.tags);
  }

  fault(metric, what, count = 1) {
    metric.add(count, this.tags);
    console.error(`${this.tags.transport}: ${metric.name}: ${what}`);
  }
}
