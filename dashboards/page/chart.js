// A line chart of the last two minutes, with its newest values in words.

const POINTS = 120;
const WIDTH = 300;
const HEIGHT = 100;
const SVG = 'http://www.w3.org/2000/svg';

function svg(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent?.append(element);
  return element;
}

export class Chart {
  /** `names` are one or two lines; `show` puts a value into words. */
  constructor(parent, names, show) {
    this.show = show;
    this.lines = names.map((name, at) => ({ name, at, values: [] }));
    const picture = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, parent);
    svg('line', { class: 'floor', x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1 }, picture);
    const words = document.createElement('p');
    parent.append(words);
    for (const line of this.lines) {
      line.path = svg('path', { class: ['first', 'second-line'][line.at] }, picture);
      line.words = document.createElement('span');
      line.words.className = ['first-name', 'second-name'][line.at];
      words.append(line.words);
    }
    this.most = document.createElement('span');
    this.most.className = 'quiet';
    words.append(this.most);
  }

  /** Adds a value a line; undefined is a gap. */
  add(...values) {
    let most = 0;
    for (const line of this.lines) {
      line.values.push(values[line.at]);
      if (line.values.length > POINTS) line.values.shift();
      most = Math.max(most, ...line.values.filter((value) => value !== undefined));
    }
    for (const line of this.lines) {
      line.path.setAttribute('d', path(line.values, most));
      line.words.textContent = `${line.name} ${this.show(values[line.at])}`.trim();
    }
    this.most.textContent = most > 0 ? `highest ${this.show(most)}` : '';
  }
}

function path(values, most) {
  const step = WIDTH / (POINTS - 1);
  const start = POINTS - values.length;
  let command = 'M';
  const parts = [];
  values.forEach((value, at) => {
    if (value === undefined) {
      command = 'M';
      return;
    }
    const y = most > 0 ? HEIGHT - 2 - (value / most) * (HEIGHT - 6) : HEIGHT - 2;
    parts.push(`${command}${((start + at) * step).toFixed(1)} ${y.toFixed(1)}`);
    command = 'L';
  });
  return parts.join('');
}
