// Draws the pieces of lanes: each kind has its own colour and shape. Lanes lower than kSmallPitch have
// no room for glyphs and words: their pieces differ in position and height.
import {kBars, kKinds, kLetters} from './pieces.js';

export const kSmallPitch = 20;

export function readColours(element) {
  const style = getComputedStyle(element);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim() || '#888';
  return {
    kinds: kLetters.map((letter) => colour(kKinds[letter].name)),
    tint: colour('waiting-tint'), ink: colour('ink'), muted: colour('muted'), line: colour('line'),
    rail: colour('rail'), paper: colour('paper'), onBar: colour('on-bar'),
    font: style.fontFamily,
    fontSize: 0.76 * parseFloat(getComputedStyle(document.documentElement).fontSize),
  };
}

export function makeHatch(context, colours, ratio) {
  const size = Math.round(8 * ratio);
  const tile = document.createElement('canvas');
  tile.width = tile.height = size;
  const pen = tile.getContext('2d');
  pen.fillStyle = colours.tint;
  pen.fillRect(0, 0, size, size);
  pen.strokeStyle = colours.kinds[1];
  pen.lineWidth = 1.4 * ratio;
  pen.beginPath();
  for (const shift of [-size, 0, size]) {
    pen.moveTo(shift - 1, size + 1);
    pen.lineTo(shift + size + 1, -1);
  }
  pen.stroke();
  const pattern = context.createPattern(tile, 'repeat');
  pattern.setTransform(new DOMMatrix().scale(1 / ratio));
  return pattern;
}

export function drawBar(pen, look, kind, x, width, top, pitch) {
  const middle = top + pitch / 2;
  if (pitch < kSmallPitch) {
    const height = kind === 2 ? pitch - 1 : kind === 1 ? Math.max(2, Math.round(pitch / 3)) : 1;
    pen.fillStyle = kind === 1 && height > 4 ? look.hatch : look.colours.kinds[kind];
    pen.fillRect(x, Math.round(middle - height / 2), width, height);
    return;
  }
  if (kind === 0) {  // dots
    pen.fillStyle = look.colours.kinds[0];
    for (let at = x; at < x + width; at += 5) pen.fillRect(at, middle - 1, Math.min(2, x + width - at), 2);
    if (width < 2) pen.fillRect(x, middle - 3, width, 6);
    return;
  }
  const height = Math.round(pitch * (kind === 2 ? 0.62 : 0.42));
  const y = Math.round(middle - height / 2);
  pen.fillStyle = kind === 2 ? look.colours.kinds[2] : look.hatch;
  pen.fillRect(x, y, width, height);
  if (kind === 1) {
    pen.fillStyle = look.colours.kinds[1];
    pen.fillRect(x, y, width, 1);
    pen.fillRect(x, y + height - 1, width, 1);
  }
}

// `isCrowded`: the neighbours are closer than the width of a glyph.
export function drawMoment(pen, look, kind, x, top, pitch, isCrowded = false) {
  const middle = top + pitch / 2;
  const colour = look.colours.kinds[kind];
  pen.fillStyle = colour;
  if (pitch < kSmallPitch) {
    const half = Math.max(2, Math.floor(pitch / 2));
    if (kind === 3) pen.fillRect(x, top, 2, pitch - 1);    // a full-height post
    else if (kind === 5) pen.fillRect(x, top, 2, half);    // a half-height post
    else if (kind === 4) {                                 // a cross
      pen.fillRect(x - 1, top - 1, 2, pitch + 1);
      pen.fillRect(x - 3, middle - 1, 6, 2);
    } else burst(pen, x, middle, Math.max(4, half));
    return;
  }
  if (isCrowded && (kind === 3 || kind === 5)) {  // ticks below or above the middle
    const length = pitch * 0.22;
    pen.fillRect(x - 1, kind === 3 ? middle + pitch * 0.12 : middle - pitch * 0.12 - length, 2, length);
    return;
  }
  const r = Math.min(14, pitch * 0.24);
  pen.lineWidth = Math.max(1.5, r * 0.26);
  pen.lineCap = 'round';
  pen.lineJoin = 'round';
  pen.beginPath();
  if (kind === 3) {  // a disc with a tick
    pen.arc(x, middle, r, 0, 2 * Math.PI);
    pen.fill();
    pen.strokeStyle = look.colours.paper;
    pen.beginPath();
    pen.moveTo(x - r * 0.45, middle + r * 0.02);
    pen.lineTo(x - r * 0.1, middle + r * 0.38);
    pen.lineTo(x + r * 0.48, middle - r * 0.34);
    pen.stroke();
  } else if (kind === 4) {  // a square with a cross, on a line through the lane
    pen.fillRect(x - 1, top + 1, 2, pitch - 2);
    pen.fillRect(x - r, middle - r, 2 * r, 2 * r);
    pen.strokeStyle = look.colours.paper;
    pen.moveTo(x - r * 0.45, middle - r * 0.45);
    pen.lineTo(x + r * 0.45, middle + r * 0.45);
    pen.moveTo(x + r * 0.45, middle - r * 0.45);
    pen.lineTo(x - r * 0.45, middle + r * 0.45);
    pen.stroke();
  } else if (kind === 5) {  // a hollow diamond
    pen.moveTo(x, middle - r);
    pen.lineTo(x + r, middle);
    pen.lineTo(x, middle + r);
    pen.lineTo(x - r, middle);
    pen.closePath();
    pen.fillStyle = look.colours.paper;
    pen.fill();
    pen.strokeStyle = colour;
    pen.stroke();
  } else {
    burst(pen, x, middle, r * 1.25);
  }
}

function burst(pen, x, y, r) {
  pen.beginPath();
  for (let i = 0; i < 16; ++i) {
    const reach = i % 2 ? r * 0.45 : r;
    pen.lineTo(x + reach * Math.sin(i * Math.PI / 8), y - reach * Math.cos(i * Math.PI / 8));
  }
  pen.fill();
}

// Writes the row's name into its bar, if there is room.
export function drawWords(pen, look, kind, words, x, width, top, pitch) {
  if (!words || kind === 0 || width < 30) return;
  const size = Math.round(Math.min(18, pitch * 0.3));
  pen.font = `600 ${size}px ${look.colours.font}`;
  const start = x + Math.min(14, pitch * 0.24) + 5;  // to the right of the previous piece's glyph
  const room = x + width - start - (kind === 2 ? 10 : 4);
  const measured = pen.measureText(words).width;
  if (measured > room) return;
  pen.textBaseline = 'middle';
  const middle = top + pitch / 2 + 0.5;
  if (kind === 1) {  // on a plain background, because the bar is hatched
    pen.fillStyle = look.colours.tint;
    pen.fillRect(x, middle - size * 0.62, start + measured + 6 - x, size * 1.2);
  }
  pen.fillStyle = kind === 2 ? look.colours.onBar : look.colours.ink;
  pen.fillText(words, start, middle);
}
