// The topology as a drawing: nodes in layers from top to bottom, and a rate at each edge.

import { compact } from './text.js';

const SVG = 'http://www.w3.org/2000/svg';
const BOX = { width: 148, height: 36, across: 172, down: 78, margin: 14 };

function svg(name, attributes, parent, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent?.append(element);
  return element;
}

const shortened = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);

/** KSTREAM-MERGE-0000000012 as merge 12; a name that somebody gave stays. */
function plain(name) {
  const generated = /^K(?:STREAM|TABLE)-(.+)-0*(\d+)$/.exec(name);
  return generated ? `${generated[1].toLowerCase().replaceAll('-', ' ')} ${generated[2]}` : name;
}

/** Nodes and edges of a topology's description. A topic is drawn at its source or sink. */
function read(description) {
  const nodes = new Map();
  const edges = [];
  for (const subtopology of description.subtopologies) {
    for (const node of subtopology.nodes) {
      const isTopic = node.kind !== 'processor' && node.topics.length > 0;
      const second = isTopic ? node.name : node.stores.join(', ');
      nodes.set(node.name, { ...node, isTopic, title: isTopic ? node.topics.join(', ') : node.name, second, parents: [], children: [] });
    }
  }
  const connect = (from, to, between) => {
    const edge = { from, to, between };
    edges.push(edge);
    from.children.push(edge);
    to.parents.push(edge);
  };
  for (const node of nodes.values()) {
    for (const child of node.successors) connect(node, nodes.get(child), false);
  }
  for (const sink of nodes.values()) {
    if (sink.kind !== 'sink') continue;
    for (const source of nodes.values()) {
      if (source.kind === 'source' && source.topics.some((topic) => sink.topics.includes(topic))) connect(sink, source, true);
    }
  }
  return { nodes: [...nodes.values()], edges };
}

/** Gives each node a layer, below all its parents; edges that lead back up are left out of account. */
function layer({ nodes }) {
  const visit = (node) => {
    if (node.layer !== undefined) return node.layer;
    // While it is visited; a node that is its own ancestor finds this.
    node.layer = 0;
    node.layer = Math.max(0, ...node.parents.map((edge) => visit(edge.from) + 1));
    return node.layer;
  };
  nodes.forEach(visit);
  const layers = [];
  for (const node of nodes) (layers[node.layer] ??= []).push(node);
  return layers;
}

/** Orders each layer by the middle of its nodes' parents, and gives every node its place. */
function place(layers) {
  const widest = Math.max(...layers.map((nodes) => nodes.length));
  layers.forEach((nodes, depth) => {
    const middle = (node) => {
      const above = node.parents.filter((edge) => edge.from.x !== undefined).map((edge) => edge.from.x);
      return above.length === 0 ? Infinity : above.reduce((sum, x) => sum + x, 0) / above.length;
    };
    const sorted = nodes.map((node) => [middle(node), node]).sort(([a], [b]) => a - b);
    const left = ((widest - nodes.length) / 2) * BOX.across + BOX.margin + BOX.across / 2;
    sorted.forEach(([, node], at) => {
      node.x = left + at * BOX.across;
      node.y = BOX.margin + BOX.height / 2 + depth * BOX.down;
    });
  });
  return { width: widest * BOX.across + 2 * BOX.margin, height: layers.length * BOX.down };
}

export class Graph {
  constructor(parent, description) {
    const graph = read(description);
    if (graph.nodes.length === 0) return;
    this.edges = graph.edges;
    const { width, height } = place(layer(graph));
    parent.replaceChildren();
    const picture = svg('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'img' }, parent);
    svg('title', {}, picture, `Topology of ${graph.nodes.length} nodes`);
    for (const edge of graph.edges) this.#drawEdge(edge, picture);
    for (const node of graph.nodes) drawNode(node, picture);
    // Rates lie over everything.
    for (const edge of graph.edges) picture.append(edge.label);
    parent.scrollLeft = (width - parent.clientWidth) / 2;
  }

  #drawEdge(edge, picture) {
    const { from, to } = edge;
    const [top, bottom] = [from.y + BOX.height / 2, to.y - BOX.height / 2];
    const bend = Math.max(24, (bottom - top) / 2);
    const d = `M${from.x} ${top}C${from.x} ${top + bend} ${to.x} ${bottom - bend} ${to.x} ${bottom}`;
    edge.line = svg('path', { class: edge.between ? 'edge between' : 'edge', d }, picture);
    edge.label = svg('text', { class: 'rate', x: (from.x + to.x) / 2, y: (top + bottom) / 2 + 4 });
  }

  /**
   * Shows the rates. `nodes` says how many records a second each node was given. What flows along
   * an edge follows from that: all that its node is given where that has one parent; with several,
   * each parent's share of what they were given together, which is exact where they pass all on.
   */
  show(nodes) {
    for (const edge of this.edges ?? []) {
      const rate = edge.between ? nodes[edge.from.name] : flow(edge, nodes);
      const text = rate === undefined ? '' : `${compact(rate)}/s`;
      if (edge.label.textContent === text) continue;
      edge.label.textContent = text;
      edge.line.classList.toggle('live', rate > 0);
      edge.line.style.strokeWidth = `${rate > 0 ? 1.5 + Math.log10(1 + rate) : 1.5}px`;
    }
  }
}

function flow({ from, to }, nodes) {
  const given = nodes[to.name];
  if (given === undefined || to.parents.length === 1) return given;
  const together = to.parents.reduce((sum, edge) => sum + (nodes[edge.from.name] ?? 0), 0);
  return together > 0 ? (given * (nodes[from.name] ?? 0)) / together : 0;
}

function drawNode(node, picture) {
  const group = svg('g', { class: node.isTopic ? 'node topic' : 'node' }, picture);
  svg('title', {}, group, `${node.kind} ${node.name}${node.topics.length ? `, topic ${node.topics.join(', ')}` : ''}${node.stores.length ? `, store ${node.stores.join(', ')}` : ''}`);
  const [x, y] = [node.x - BOX.width / 2, node.y - BOX.height / 2];
  svg('rect', { x, y, width: BOX.width, height: BOX.height, rx: node.isTopic ? BOX.height / 2 : 4 }, group);
  svg('text', { x: node.x, y: node.y + (node.second ? -2 : 5) }, group, shortened(plain(node.title), 18));
  if (node.second) svg('text', { class: 'second', x: node.x, y: node.y + 12 }, group, shortened(plain(node.second), 22));
}
