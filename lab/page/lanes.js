// The lanes of several runs, one above the other on one time scale: drawing, zooming and pointing.
import {kSmallPitch, drawBar, drawMoment, makeHatch, readColours} from './glyphs.js';
import {describe, kBars, kKinds, kLetters} from './pieces.js';
import {kRoomRight, make, RunView} from './run_view.js';

const kFrameBudget = 7;   // ms per frame for redrawing lanes
const kLiveFrame = 33;    // ms between frames while bars grow
const kLadder = [1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.4, 8, 10];

// The end of the scale during a run. It moves in steps, so that lanes are seldom redrawn.
function niceEnd(end) {
  const power = 10 ** Math.floor(Math.log10(Math.max(end, 1)));
  return power * kLadder.find((factor) => factor * power >= end);
}

function pitchFor(lanes, width) {
  const larger = Math.min(1.4, Math.max(1, width / 1200));  // wide screens are viewed from further away
  if (lanes <= 4) return Math.round(46 * larger);
  if (lanes <= 8) return Math.round(36 * larger);
  if (lanes <= 16) return Math.round(24 * larger);
  return lanes <= 36 ? 12 : 6;
}

// Draws the lanes of runs into `element`. Calls `options.decorate(run, {section, head, side})` once per
// run, which adds its other parts.
export function mountLanes(element, options = {}) {
  return new Lanes(element, options);
}

class Lanes {
  #views = [];
  #zoom = null;      // {t0, t1}; null: everything
  #cursor = null;    // time
  #picked = null;    // {view, lane, at}; `at` -1: the open bar
  #look = null;
  #looks = 0;
  #scheduled = 0;
  #growth = 0;
  #drag = null;
  #calm = matchMedia('(prefers-reduced-motion: reduce)');
  #undo = new AbortController();

  constructor(element, options) {
    this.element = element;
    this.options = options;
    element.classList.add('lanes');
    this.legend = make('ul', 'legend');
    this.legend.setAttribute('aria-label', 'What the shapes mean');
    this.zoomBar = this.#makeZoomBar();
    const bar = make('div', 'lanes-bar');
    bar.append(this.legend, this.zoomBar);
    this.list = make('div', 'lanes-runs');
    this.tip = make('div', 'tip');
    this.tip.hidden = true;
    this.said = make('p', 'for-ears');
    this.said.setAttribute('aria-live', 'polite');
    element.replaceChildren(bar, this.list, this.tip, this.said);
    this.resizes = new ResizeObserver(() => this.#redraw());
    this.resizes.observe(this.list);
    this.sightings = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const view = this.#views.find((candidate) => candidate.section === entry.target);
        if (view) view.visible = entry.isIntersecting;
      }
      this.#schedule();
    }, {rootMargin: '200px'});
    const {signal} = this.#undo;
    const relook = () => {
      this.#look = null;
      this.#redraw();
    };
    this.themes = new MutationObserver(relook);
    this.themes.observe(document.documentElement, {attributes: true, attributeFilter: ['data-theme']});
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', relook, {signal});
    document.addEventListener('keydown', (event) => event.key === 'Escape' && this.#unpick(), {signal});
    document.addEventListener('pointerdown', (event) => {
      if (!element.contains(event.target)) this.#unpick();
    }, {signal});
    this.#redraw();
  }

  show(runs) {
    const before = this.#views;
    this.#views = runs.map((run) => before.find((view) => view.run === run) ?? this.#addRun(run));
    for (const view of before) {
      if (this.#views.includes(view)) continue;
      this.sightings.unobserve(view.section);
      view.section.remove();
      if (this.#picked?.view === view) this.#unpick();
    }
    this.#views.forEach((view, i) => {
      if (this.list.children[i] !== view.section) this.list.insertBefore(view.section, this.list.children[i] ?? null);
      view.take(view.run);
    });
    if (before.length !== this.#views.length) this.#zoom = null;
    this.#schedule();
  }

  destroy() {
    this.#undo.abort();
    this.resizes.disconnect();
    this.sightings.disconnect();
    this.themes.disconnect();
    cancelAnimationFrame(this.#scheduled);
    clearTimeout(this.#growth);
    this.element.replaceChildren();
  }

  #addRun(run) {
    const view = new RunView(run);
    this.options.decorate?.(run, view.parts);
    this.sightings.observe(view.section);
    const {plot} = view;
    plot.addEventListener('pointermove', (event) => this.#onMove(view, event));
    plot.addEventListener('pointerleave', () => this.#onLeave());
    plot.addEventListener('pointerdown', (event) => this.#onDown(view, event));
    plot.addEventListener('pointerup', (event) => this.#onUp(view, event));
    plot.addEventListener('pointercancel', () => { this.#drag = null; });
    plot.addEventListener('keydown', (event) => this.#onKey(view, event));
    plot.addEventListener('focus', () => {
      if (plot.matches(':focus-visible') && this.#picked?.view !== view) this.#pickFirst(view);
    });
    plot.addEventListener('blur', () => this.#unpick());
    plot.addEventListener('wheel', (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.#zoomBy(event.deltaY < 0 ? 1.25 : 0.8, this.#timeAt(view, event));
    }, {passive: false});
    return view;
  }

  #makeZoomBar() {
    const bar = make('div', 'zoom');
    bar.setAttribute('role', 'group');
    bar.setAttribute('aria-label', 'Time scale');
    const add = (text, label, act) => {
      const button = make('button', 'small-button', text);
      button.type = 'button';
      button.setAttribute('aria-label', label);
      button.addEventListener('click', act);
      bar.append(button);
    };
    add('−', 'Zoom out', () => this.#zoomBy(0.5));
    add('+', 'Zoom in', () => this.#zoomBy(2));
    add('All', 'Show all', () => this.#zoomTo(null));
    return bar;
  }

  // ---- frames

  #redraw() {
    for (const view of this.#views) view.fresh = false;
    this.#schedule();
  }

  #grow() {
    this.#growth = 0;
    this.#schedule();
  }

  #schedule() {
    if (!this.#scheduled) this.#scheduled = requestAnimationFrame(() => this.#frame());
  }

  #frame() {
    this.#scheduled = 0;
    const isGrowing = !this.#calm.matches && this.#views.some((view) => view.isLive && view.tracks.length <= 16);
    const deadline = performance.now() + kFrameBudget;
    const look = this.#lookNow();
    const pitch = pitchFor(Math.max(1, ...this.#views.map((view) => view.tracks.length)), this.element.clientWidth);
    const {t0, t1} = this.#span();
    const ratio = Math.min(3, Math.max(1, window.devicePixelRatio || 1));
    const widths = this.#views.map((view) => view.plot.clientWidth);  // read all widths before changing the layout
    let isDone = true;
    this.#views.forEach((view, i) => {
      const width = widths[i];
      if (!width) return;
      if (view.needsLabels(pitch)) view.labelLanes(pitch);
      if (!view.visible && view.isLive) return;  // it is drawn when it ends, or when it scrolls into view
      const isMoving = isGrowing && view.isLive;
      const scale = {t0, t1, width, height: pitch * view.tracks.length, pitch, ratio, look: look.number};
      if (view.fresh && !isMoving && view.isDrawnFor(scale)) return;
      const isPainted = view.paint(scale, look, deadline);
      isDone &&= isPainted;
      view.show(scale, look, isGrowing, {cursor: this.#cursor, picked: this.#pickedIn(view)});
    });
    if (this.#picked && !this.tip.hidden) this.#fillTip();
    if (!isDone) this.#schedule();
    else if (isGrowing && !this.#growth) this.#growth = setTimeout(() => this.#grow(), kLiveFrame);
  }

  #lookNow() {
    if (this.#look) return this.#look;
    const colours = readColours(this.element);
    const ratio = Math.max(1, window.devicePixelRatio || 1);
    const hatch = makeHatch(document.createElement('canvas').getContext('2d'), colours, ratio);
    this.#look = {colours, hatch, number: ++this.#looks};
    this.#drawLegend(this.#look, ratio);
    return this.#look;
  }

  #drawLegend(look, ratio) {
    const items = kLetters.map((letter, kind) => {
      const item = make('li', 'legend-item');
      const canvas = make('canvas');
      canvas.setAttribute('aria-hidden', 'true');
      const width = kind < kBars ? 30 : 22;
      canvas.width = width * ratio;
      canvas.height = 28 * ratio;
      canvas.style.width = `${width}px`;
      canvas.style.height = '28px';
      const pen = canvas.getContext('2d');
      pen.scale(ratio, ratio);
      if (kind < kBars) drawBar(pen, look, kind, 0, width, -2, 32);
      else drawMoment(pen, look, kind, width / 2, -3, 34);
      const words = make('span', 'legend-words');
      words.append(make('b', '', kKinds[letter].title), make('span', 'legend-says', ` ${kKinds[letter].says}`));
      item.append(canvas, words);
      return item;
    });
    this.legend.replaceChildren(...items);
  }

  #all() {
    const end = Math.max(0.01, ...this.#views.map((view) => view.end));
    return {t0: 0, t1: this.#views.some((view) => view.isLive) ? niceEnd(Math.max(end * 1.02, 20)) : end};
  }

  #span() { return this.#zoom ?? this.#all(); }

  #zoomTo(span) {
    const all = this.#all();
    this.#zoom = null;
    if (span && span.t1 - span.t0 < all.t1) {
      const length = Math.max(span.t1 - span.t0, all.t1 / 1e5);
      const t0 = Math.min(Math.max(0, span.t0), all.t1 - length);
      this.#zoom = {t0, t1: t0 + length};
    }
    this.element.classList.toggle('zoomed', this.#zoom !== null);
    this.#redraw();
  }

  #zoomBy(factor, around) {
    const {t0, t1} = this.#span();
    const middle = around ?? this.#pickedSegment()?.[1] ?? (t0 + t1) / 2;
    const length = (t1 - t0) / factor;
    const part = (middle - t0) / (t1 - t0);
    const start = part >= 0 && part <= 1 ? middle - length * part : middle - length / 2;
    this.#zoomTo({t0: start, t1: start + length});
  }

  #timeAt(view, event) {
    const box = view.canvas.getBoundingClientRect();
    const {t0, t1} = this.#span();
    return t0 + (event.clientX - box.left) / (box.width - kRoomRight) * (t1 - t0);
  }

  #xOf(view, time) {
    const {t0, t1} = this.#span();
    return (time - t0) / (t1 - t0) * (view.canvas.clientWidth - kRoomRight);
  }

  // ---- pointing with mouse, finger and keys

  #hit(view, event) {
    const pitch = view.pictureScale?.pitch;
    if (!pitch) return null;
    const box = view.canvas.getBoundingClientRect();
    const lane = Math.floor((event.clientY - box.top) / pitch);
    if (lane < 0 || lane >= view.tracks.length) return null;
    const {t0, t1} = this.#span();
    const reach = (event.pointerType === 'touch' ? 14 : pitch < kSmallPitch ? 4 : 9) * (t1 - t0) / box.width;
    const time = this.#timeAt(view, event);
    const at = view.tracks[lane].nearest(time, reach);
    const open = view.openOf?.[lane];
    if (open && time >= open[1] - reach && time <= view.run.now_ms + reach &&
        (at < 0 || view.tracks[lane].to[at] < time - reach / 2)) {
      return {view, lane, at: -1};
    }
    return at < 0 ? null : {view, lane, at};
  }

  #onMove(view, event) {
    if (this.#drag) {
      const moved = event.clientX - this.#drag.x;
      if (Math.abs(moved) > 6) this.#drag.isPan = true;
      if (this.#drag.isPan && this.#drag.span) {
        const {t0, t1} = this.#drag.span;
        const shift = -moved / (view.canvas.clientWidth - kRoomRight) * (t1 - t0);
        this.#zoomTo({t0: t0 + shift, t1: t1 + shift});
        return;
      }
    }
    if (event.pointerType === 'touch') return;
    this.#cursor = this.#timeAt(view, event);
    this.#pick(this.#hit(view, event));
    this.#redraw();
  }

  #onLeave() {
    this.#cursor = null;
    this.#drag = null;
    if (!this.#picked?.isKept) this.#unpick();
    this.#redraw();
  }

  #onDown(view, event) {
    this.#drag = {x: event.clientX, isPan: false, span: this.#zoom};
  }

  #onUp(view, event) {
    const wasPan = this.#drag?.isPan;
    this.#drag = null;
    if (wasPan) return;
    const hit = this.#hit(view, event);
    this.#pick(hit && {...hit, isKept: true}, hit !== null);
  }

  #onKey(view, event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const acts = {
      ArrowRight: () => this.#step(view, 1), ArrowLeft: () => this.#step(view, -1),
      ArrowDown: () => this.#changeLane(view, 1), ArrowUp: () => this.#changeLane(view, -1),
      Home: () => this.#step(view, -Infinity), End: () => this.#step(view, Infinity),
      '+': () => this.#zoomBy(2), '=': () => this.#zoomBy(2), '-': () => this.#zoomBy(0.5),
      0: () => this.#zoomTo(null),
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }

  #pickFirst(view) {
    const lane = Math.max(0, view.tracks.findIndex((track) => track.count > 0));
    if (view.tracks[lane].count) this.#pick({view, lane, at: 0, isKept: true}, true);
  }

  #step(view, by) {
    const picked = this.#picked;
    if (picked?.view !== view) {
      this.#pickFirst(view);
      return;
    }
    const {count} = view.tracks[picked.lane];
    const from = picked.at < 0 ? count : picked.at;
    const at = Math.min(Math.max(0, from + by), view.openOf?.[picked.lane] ? count : count - 1);
    this.#pick({view, lane: picked.lane, at: at === count ? -1 : at, isKept: true}, true);
    this.#reveal();
  }

  #changeLane(view, by) {
    const picked = this.#picked;
    if (picked?.view !== view) {
      this.#pickFirst(view);
      return;
    }
    const time = this.#pickedSegment()?.[1] ?? 0;
    for (let lane = picked.lane + by; lane >= 0 && lane < view.tracks.length; lane += by) {
      const track = view.tracks[lane];
      if (!track.count && !view.openOf?.[lane]) continue;
      this.#pick({view, lane, at: track.count ? Math.max(0, track.after(time) - 1) : -1, isKept: true}, true);
      return;
    }
  }

  // Moves the scale so that the picked piece is visible.
  #reveal() {
    const segment = this.#pickedSegment();
    const {t0, t1} = this.#span();
    if (!this.#zoom || !segment || (segment[1] >= t0 && segment[1] <= t1)) return;
    const start = segment[1] - (t1 - t0) / 4;
    this.#zoomTo({t0: start, t1: start + t1 - t0});
  }

  #pickedSegment() {
    if (!this.#picked) return null;
    const {view, lane, at} = this.#picked;
    return at < 0 ? view.openOf?.[lane] : view.run.lanes[lane].segments[view.tracks[lane].at[at]];
  }

  #pickedIn(view) {
    const segment = this.#picked?.view === view ? this.#pickedSegment() : null;
    return segment ? {lane: this.#picked.lane, segment} : null;
  }

  #pick(picked, isSaid = false) {
    if (!picked) {
      this.#unpick();
      return;
    }
    this.#picked = picked;
    this.tip.hidden = false;
    const words = this.#fillTip();
    if (isSaid && words) this.said.textContent = `${words.process}, ${words.title}. ${words.lines.join('. ')}`;
    this.#redraw();
  }

  #unpick() {
    if (!this.#picked) return;
    this.#picked = null;
    this.tip.hidden = true;
    this.#redraw();
  }

  #fillTip() {
    const segment = this.#pickedSegment();
    if (!segment) {
      this.#unpick();
      return null;
    }
    const {view, lane, at} = this.#picked;
    const isOpen = at < 0;
    const shown = isOpen ? [segment[0], segment[1], Math.max(segment[1], view.run.now_ms), ...segment.slice(3)] : segment;
    const words = describe(view.run.lanes[lane].name, shown, isOpen);
    const key = `${words.process} ${words.title} ${words.lines}`;
    if (this.tip.dataset.key !== key) {
      this.tip.dataset.key = key;
      this.tip.dataset.kind = kKinds[segment[0]].name;
      const title = make('p', 'tip-title');
      title.append(make('b', '', words.process), make('span', '', words.title));
      this.tip.replaceChildren(title, ...words.lines.map((line) => make('p', 'tip-line', line)));
    }
    const frame = this.element.getBoundingClientRect();
    const box = view.canvas.getBoundingClientRect();
    const pitch = view.pictureScale?.pitch ?? 20;
    const middle = (this.#xOf(view, Math.max(shown[1], this.#span().t0)) + this.#xOf(view, Math.min(shown[2], this.#span().t1))) / 2;
    const x = this.#cursor !== null && !this.#picked.isKept ? this.#xOf(view, this.#cursor) : middle;
    const width = this.tip.offsetWidth;
    const left = Math.min(Math.max(0, box.left - frame.left + x - width / 2), frame.width - width);
    const below = box.top - frame.top + (lane + 1) * pitch + 6;
    const above = box.top - frame.top + lane * pitch - this.tip.offsetHeight - 6;
    const hasRoomBelow = frame.top + below + this.tip.offsetHeight < window.innerHeight;
    this.tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(hasRoomBelow || above + frame.top < 0 ? below : above)}px)`;
    return words;
  }
}
