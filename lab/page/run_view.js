// The lanes of one run: their names, and a canvas.
//
// Finished pieces are drawn once, into an off-screen picture; a frame copies the picture and draws only
// the open bars on top. When the scale changes, each frame redraws as many lanes as its budget allows;
// the others show the old picture, stretched.
import {drawBar, drawMoment, drawWords, kSmallPitch} from './glyphs.js';
import {kBars, kKinds, kLetters, stateInWords, Track, wordsOf} from './pieces.js';

export const kRoomRight = 14;     // for a glyph at the very end
const kRedrawWhole = 400;         // a lane with up to this many pieces is redrawn instead of extended
const kGrowAhead = 250;           // ms that an open bar grows without a new event
const kLossShown = 3000;          // ms that a lane's state shows a loss while it tries its next row

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export class RunView {
  constructor(run) {
    this.run = run;
    this.tracks = run.lanes.map(() => new Track());
    this.picture = document.createElement('canvas');
    this.old = document.createElement('canvas');
    this.pictureScale = null;  // the scale that the picture was drawn for
    this.oldScale = null;
    this.fresh = false;        // the visible canvas is up to date
    this.visible = true;
    this.stamp = 0;
    this.seenNow = -1;
    this.section = make('section', 'run');
    this.section.dataset.mode = run.mode;
    this.section.setAttribute('aria-label', `${run.mode_title}: ${run.title}`);
    const head = make('header', 'run-head');
    head.append(make('h3', 'run-title', run.mode_title));
    const body = make('div', 'run-body');
    const row = make('div', 'plot-row');
    this.gutter = make('ol', 'gutter');
    this.labels = run.lanes.map((lane) => this.#label(lane));
    this.plot = make('div', 'plot');
    this.plot.tabIndex = 0;
    this.plot.setAttribute('role', 'application');
    this.plot.setAttribute('aria-roledescription', 'timeline');
    this.plot.setAttribute('aria-label', `Lanes, ${run.mode_title}. Left and right go from piece to ` +
      'piece, up and down from lane to lane, plus and minus zoom, 0 shows all.');
    this.canvas = make('canvas');
    this.canvas.setAttribute('aria-hidden', 'true');
    this.plot.append(this.canvas);
    row.append(this.gutter, this.plot);
    const side = make('div', 'run-side');
    body.append(row, side);
    this.section.append(head, body);
    this.parts = {section: this.section, head, side};
  }

  #label(lane) {
    const item = make('li', 'lane');
    const name = make('span', 'lane-name', lane.name);
    const tally = make('span', 'lane-tally');
    const state = make('span', 'lane-state');
    item.append(name, tally, state);
    this.gutter.append(item);
    return {item, tally, state};
  }

  get isLive() { return !this.run.ended && !this.run.failed; }

  take(run) {
    if (run !== this.run) this.run = run;
    if (run.now_ms !== this.seenNow) {
      this.seenNow = run.now_ms;
      this.stamp = performance.now();
    }
    this.openOf = new Array(run.lanes.length).fill(null);
    for (const [lane, segment] of this.isLive ? run.open ?? [] : []) this.openOf[lane] = segment;
    run.lanes.forEach((lane, i) => this.tracks[i].take(lane.segments));
    this.fresh = false;
    this.labelledFor = null;
  }

  now(isGrowing) {
    const now = this.run.now_ms ?? 0;
    return isGrowing && this.isLive ? now + Math.min(kGrowAhead, performance.now() - this.stamp) : now;
  }

  get end() {
    let end = this.isLive ? this.run.now_ms ?? 0 : 0;
    for (const track of this.tracks) {
      if (track.count) end = Math.max(end, track.to[track.count - 1], track.from[track.count - 1]);
    }
    return end;
  }

  needsLabels(pitch) {
    return this.labelledFor !== pitch;
  }

  labelLanes(pitch) {
    this.labelledFor = pitch;
    const isSmall = pitch < kSmallPitch;
    const every = isSmall ? Math.ceil(14 / pitch) : 1;
    this.gutter.classList.toggle('small', isSmall);
    this.labels.forEach(({item, tally, state}, i) => {
      const lane = this.run.lanes[i];
      const track = this.tracks[i];
      item.style.height = `${pitch}px`;
      item.classList.toggle('unnamed', i % every !== 0);
      if (isSmall) {
        return;
      }
      const last = track.count ? lane.segments[track.at[track.count - 1]] : null;
      const loss = lane.segments[track.lastLoss];
      const isNews = loss && this.isLive && this.run.now_ms - loss[2] < kLossShown;
      const segment = isNews ? loss : this.openOf[i] ?? last;
      const kind = segment ? kKinds[segment[0]].name : 'idle';
      if (item.dataset.state !== kind) item.dataset.state = kind;
      setText(state, segment ? stateInWords(lane.name, segment) : 'not started');
      const known = this.run.ended?.numbers.processes?.find(({process}) => process === lane.name);
      const reached = known?.in_database ?? (lane.role === 'producer' ? this.#arrived(i) : 0);
      const lost = known && !this.run.ended.stopped ? known.rows_wanted - known.in_database : track.tally[4];
      setText(tally, lane.role === 'producer' ? `${reached}/${lane.rows_wanted}${lost ? ` ✕${lost}` : ''}` : '');
      tally.classList.toggle('has-lost', lost > 0);
    });
  }

  // Rows of a producer that arrived. A piece of several rows names the first and how many more: `A +2`.
  #arrived(i) {
    const {segments} = this.run.lanes[i];
    this.counted ??= this.run.lanes.map(() => ({upTo: 0, rows: 0}));
    const known = this.counted[i];
    const wanted = this.run.mode === 'queued' ? 'a' : 'c';
    for (; known.upTo < segments.length; ++known.upTo) {
      const [letter, , , row] = segments[known.upTo];
      if (letter === wanted) known.rows += 1 + Number(/ \+(\d+)$/.exec(row ?? '')?.[1] ?? 0);
    }
    return Math.min(known.rows, this.run.lanes[i].rows_wanted ?? known.rows);
  }

  isDrawnFor(scale) {
    return this.pictureScale !== null && sameScale(this.pictureScale, scale);
  }

  // Draws lanes into the picture until the deadline. Returns whether all lanes are drawn.
  paint(scale, look, deadline) {
    if (!this.isDrawnFor(scale)) {
      if (this.pictureScale && this.pictureScale.height === scale.height &&
          this.pictureScale.ratio === scale.ratio && this.pictureScale.look === scale.look) {
        [this.old, this.picture] = [this.picture, this.old];
        this.oldScale = this.pictureScale;
      } else {
        this.oldScale = null;
      }
      this.pictureScale = scale;
      this.picture.width = Math.max(1, Math.round(scale.width * scale.ratio));
      this.picture.height = Math.max(1, Math.round(scale.height * scale.ratio));
      for (const track of this.tracks) track.drawn = 0;
      this.pending = new Set(this.tracks.keys());
    }
    const pen = this.picture.getContext('2d');
    pen.setTransform(scale.ratio, 0, 0, scale.ratio, 0, 0);
    let isDone = true;
    for (let i = 0; i < this.tracks.length; ++i) {
      const track = this.tracks[i];
      if (track.drawn === track.count && !this.pending.has(i)) continue;
      if (performance.now() > deadline) {
        isDone = false;
        break;
      }
      this.#paintLane(pen, i, scale, look);
      this.pending.delete(i);
    }
    return isDone;
  }

  #paintLane(pen, i, scale, look) {
    const {pitch, t0, t1, width} = scale;
    const track = this.tracks[i];
    const top = i * pitch;
    const isSmall = pitch < kSmallPitch;
    let first = track.drawn;
    if (track.count <= kRedrawWhole || this.pending.has(i)) {
      pen.clearRect(0, top, width, pitch);
      first = track.firstIn(t0);
    }
    const toX = (time) => (time - t0) / (t1 - t0) * (width - kRoomRight);
    const finest = 1 / scale.ratio;
    const snap = (x) => Math.round(x / finest) * finest;
    const bars = [[], [], []];   // x, end, x, end...
    const moments = [];          // kind, x, kind, x...
    const lastX = [-1, -1, -1, -1, -1, -1, -1];
    const worded = [];
    const last = track.after(t1);
    for (let k = first; k < last; ++k) {
      const kind = track.kind[k];
      const x = snap(Math.max(-20, toX(track.from[k])));
      if (kind >= kBars) {
        if (x !== lastX[kind] && x > -20) moments.push(kind, x);
        lastX[kind] = x;
        continue;
      }
      const end = Math.max(x + (kind === 2 ? Math.max(1, finest) : finest), snap(Math.min(width, toX(track.to[k]))));
      const list = bars[kind];
      if (list.length && x <= list[list.length - 1] && (isSmall || end - x < 3)) {
        list[list.length - 1] = Math.max(list[list.length - 1], end);
      } else {
        list.push(x, end);
        if (!isSmall && end - x >= 30) worded.push(kind, k, Math.max(0, x), end);
      }
    }
    pen.save();
    pen.beginPath();
    pen.rect(0, top - 1, width, pitch + 1);
    pen.clip();
    for (const kind of [1, 0, 2]) {
      const list = bars[kind];
      for (let k = 0; k < list.length; k += 2) {
        drawBar(pen, look, kind, list[k], list[k + 1] - list[k], top, pitch);
      }
    }
    const lane = this.run.lanes[i];
    for (let k = 0; k < worded.length; k += 4) {
      const words = wordsOf(lane.segments[track.at[worded[k + 1]]], lane.name);
      drawWords(pen, look, worded[k], words, worded[k + 2], worded[k + 3] - worded[k + 2], top, pitch);
    }
    const room = pitch * 0.5;
    let isCrowded = false;
    for (let k = 3; k < moments.length; k += 2) isCrowded ||= moments[k] - moments[k - 2] < room;
    for (let k = 0; k < moments.length; k += 2) {
      drawMoment(pen, look, moments[k], moments[k + 1], top, pitch, isCrowded);
    }
    pen.restore();
    track.drawn = track.count;
  }

  // Draws the visible canvas: grid, open bars, the picture, cursor and picked piece.
  show(scale, look, isGrowing, marks) {
    const {width, height, pitch, ratio, t0, t1} = scale;
    const axisHeight = Math.round(look.colours.fontSize * 1.8);
    const canvasWidth = Math.round(width * ratio);
    const canvasHeight = Math.round((height + axisHeight) * ratio);
    if (this.canvas.width !== canvasWidth || this.canvas.height !== canvasHeight) {
      this.canvas.width = canvasWidth;
      this.canvas.height = canvasHeight;
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height + axisHeight}px`;
    }
    const pen = this.canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height + axisHeight);
    const toX = (time) => (time - t0) / (t1 - t0) * (width - kRoomRight);
    this.#drawGrid(pen, scale, look, toX);
    const now = this.now(isGrowing);
    this.openOf?.forEach((segment, i) => {
      if (!segment) return;
      const x = Math.max(-20, toX(segment[1]));
      const end = Math.min(width, toX(now));
      const kind = kLetters.indexOf(segment[0]);
      if (end < 0 || kind < 0 || kind >= kBars) return;
      drawBar(pen, look, kind, x, Math.max(1, end - x), i * pitch, pitch);
      if (pitch >= kSmallPitch) {
        drawWords(pen, look, kind, wordsOf(segment, this.run.lanes[i].name), Math.max(0, x), end - Math.max(0, x), i * pitch, pitch);
      }
    });
    pen.imageSmoothingEnabled = false;
    if (this.oldScale && this.pending?.size) {
      const o = this.oldScale;
      const left = toX(o.t0);
      for (const i of this.pending) {
        pen.drawImage(this.old, 0, i * pitch * ratio, this.old.width, pitch * ratio, left, i * pitch,
          (o.t1 - o.t0) / (t1 - t0) * (width - kRoomRight) * o.width / (o.width - kRoomRight), pitch);
      }
    }
    pen.drawImage(this.picture, 0, 0, this.picture.width, this.picture.height, 0, 0, width, height);
    if (this.isLive && now >= t0 && now <= t1) {
      pen.fillStyle = look.colours.ink;
      pen.fillRect(Math.round(toX(now)), 0, 1, height);
    }
    if (marks.cursor !== null) {
      pen.fillStyle = look.colours.muted;
      pen.fillRect(Math.round(toX(marks.cursor)), 0, 1, height);
    }
    if (marks.picked) this.#drawPicked(pen, marks.picked, scale, look, toX);
    this.fresh = !this.pending?.size;
  }

  #drawGrid(pen, {width, height, pitch, t0, t1}, look, toX) {
    pen.fillStyle = look.colours.rail;
    if (pitch >= kSmallPitch) {
      for (let i = 0; i < this.tracks.length; ++i) pen.fillRect(0, Math.round((i + 0.5) * pitch), width, 1);
    }
    const step = tickStep(t1 - t0, width);
    const {font, fontSize} = look.colours;
    pen.font = `${fontSize}px ${font}`;
    pen.textBaseline = 'alphabetic';
    for (let tick = Math.ceil(t0 / step) * step; tick <= t1 + step * 1e-6; tick += step) {
      const x = Math.round(toX(tick));
      pen.fillStyle = look.colours.line;
      pen.fillRect(x, 0, 1, height + 5);
      const words = tickWords(tick, step);
      const size = pen.measureText(words).width;
      if (x + size + 4 > width) continue;
      pen.fillStyle = look.colours.muted;
      pen.fillText(words, x + 4, height + fontSize * 1.3);
    }
    pen.fillStyle = look.colours.line;
    pen.fillRect(0, height, width, 1);
  }

  #drawPicked(pen, {lane, segment}, {pitch, width}, look, toX) {
    const isBar = kLetters.indexOf(segment[0]) < kBars;
    const end = this.openOf?.[lane] === segment ? this.run.now_ms : segment[2];
    const room = isBar ? 2 : pitch < kSmallPitch ? 4 : Math.min(12, pitch * 0.3);
    const x = Math.max(1, toX(segment[1]) - room);
    const right = Math.min(width - 1, toX(end) + room);
    pen.strokeStyle = look.colours.ink;
    pen.lineWidth = 2;
    pen.strokeRect(x, lane * pitch + 1, Math.max(4, right - x), Math.max(4, pitch - 2));
  }
}

function sameScale(a, b) {
  return a.t0 === b.t0 && a.t1 === b.t1 && a.width === b.width && a.height === b.height &&
    a.ratio === b.ratio && a.look === b.look;
}

function tickStep(span, width) {
  const rough = span / Math.max(2, width / 110);
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
}

function tickWords(tick, step) {
  if (tick < step / 2) return '0';
  if (step >= 1000) return `${Math.round(tick / 1000)} s`;
  if (tick >= 1000 || step >= 100) return `${(tick / 1000).toFixed(step >= 100 ? 1 : step >= 10 ? 2 : 3)} s`;
  return step >= 1 ? `${Math.round(tick)} ms` : `${tick.toFixed(2)} ms`;
}
