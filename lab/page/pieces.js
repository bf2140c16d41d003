// Pieces of lanes: their words, and the pieces of one lane sorted by time.

export const kKinds = {
  t: {name: 'trying', title: 'Trying', says: 'asked, no answer yet'},
  w: {name: 'waiting', title: 'Waiting', says: 'for the lock, or in the queue'},
  h: {name: 'holding', title: 'Holding', says: 'has the lock'},
  c: {name: 'committed', title: 'Committed', says: 'in the database'},
  l: {name: 'lost', title: 'Lost', says: 'refused, not in the database'},
  a: {name: 'acknowledged', title: 'Acknowledged', says: 'the producer got its answer'},
  x: {name: 'crashed', title: 'Crashed', says: 'the process was killed'},
};
export const kLetters = Object.keys(kKinds);
export const kBars = 3;  // the first three kinds are bars; the others are moments

export function formatDuration(ms) {
  if (ms < 0.0005) return '0 ms';
  if (ms < 1) return `${Math.max(1, Math.round(ms * 1000))} µs`;
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59950) return `${(ms / 1000).toFixed(ms < 9995 ? 2 : 1)} s`;
  return `${Math.floor(ms / 60000)} min ${Math.round(ms % 60000 / 1000)} s`;
}

// Describes a piece in words: for the tooltip and for screen readers.
export function describe(laneName, [letter, from, to, row, holder, error], isOpen = false) {
  const lines = [];
  if (row) lines.push(`Row ${row}`);
  if (letter in kKinds && kLetters.indexOf(letter) < kBars) {
    const end = isOpen ? 'now' : formatDuration(to);
    lines.push(`${formatDuration(to - from)}, from ${formatDuration(from)} to ${end}`);
  } else {
    lines.push(`at ${formatDuration(from)}`);
  }
  if (holder === 'queue') {
    lines.push('in the queue');
  } else if (holder) {
    lines.push(holder === laneName ? 'this process held the lock' : `${holder} held the lock`);
  }
  if (error) lines.push(error);
  return {title: kKinds[letter].title, process: laneName, lines};
}

export function stateInWords(laneName, [letter, , , row, holder]) {
  const of = row ? ` ${row}` : '';
  const held = holder && holder !== 'queue' && holder !== laneName ? holder : '';
  switch (letter) {
    case 't': return `tries${of}`;
    case 'w': return holder === 'queue' ? `queued${of}` : held ? `waits for ${held}` : 'waits';
    case 'h': return `holds${of}`;
    case 'c': return `committed${of}`;
    case 'l': return held ? `lost${of} to ${held}` : `lost${of}`;
    case 'a': return `answered${of}`;
    default: return 'crashed';
  }
}

// The words inside a bar.
export function wordsOf(segment, laneName) {
  if (segment[0] !== 'w') return segment[3] || '';
  const held = segment[4] && segment[4] !== laneName ? segment[4] : '';
  const reason = held === 'queue' ? ' in the queue' : held ? ` waits for ${held}` : '';
  return `${segment[3] || ''}${reason}`.trim();
}

// ---- the pieces of one lane, sorted by their start

export class Track {
  count = 0;
  drawn = 0;  // number of pieces in the picture
  #room = 64;
  kind = new Uint8Array(64);
  from = new Float64Array(64);
  to = new Float64Array(64);
  at = new Uint32Array(64);  // index into the lane's segments
  tally = new Uint32Array(kLetters.length);
  lastLoss = -1;  // index into the lane's segments

  take(segments) {
    if (segments.length < this.count) {
      this.count = this.drawn = 0;
      this.tally.fill(0);
      this.lastLoss = -1;
    }
    for (let i = this.count; i < segments.length; ++i) {
      if (this.count === this.#room) this.#grow();
      const [letter, from, to] = segments[i];
      let place = this.count;  // nearly always the end
      while (place > 0 && this.from[place - 1] > from) --place;
      if (place < this.count) {
        for (const array of [this.kind, this.from, this.to, this.at]) {
          array.copyWithin(place + 1, place, this.count);
        }
        this.drawn = Math.min(this.drawn, place);
      }
      this.kind[place] = Math.max(0, kLetters.indexOf(letter));
      this.from[place] = from;
      this.to[place] = to;
      this.at[place] = i;
      ++this.tally[this.kind[place]];
      if (letter === 'l') this.lastLoss = i;
      ++this.count;
    }
  }

  #grow() {
    this.#room *= 2;
    for (const name of ['kind', 'from', 'to', 'at']) {
      const bigger = new this[name].constructor(this.#room);
      bigger.set(this[name]);
      this[name] = bigger;
    }
  }

  // The first piece that starts after `time`.
  after(time) {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.from[middle] <= time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // Bars do not overlap, so at most one bar that starts before `time` reaches it.
  firstIn(time) {
    let i = this.after(time);
    while (i > 0 && (this.to[i - 1] >= time || this.kind[i - 1] >= kBars) && this.from[i - 1] >= time - 1) --i;
    while (i > 0 && this.to[i - 1] >= time) --i;
    return i > 0 && this.kind[i - 1] < kBars ? i - 1 : i;
  }

  // The nearest piece within `reach` of `time`. Prefers a moment to a bar, because it is thinner.
  nearest(time, reach) {
    let best = -1;
    let bestScore = Infinity;
    for (let i = this.after(time + reach) - 1; i >= 0; --i) {
      const isBar = this.kind[i] < kBars;
      const distance = Math.max(this.from[i] - time, time - this.to[i], 0);
      if (distance <= reach) {
        const score = distance + (isBar ? reach : 0);
        if (score < bestScore) {
          best = i;
          bestScore = score;
        }
      } else if (isBar) {
        break;
      }
    }
    return best;
  }
}
