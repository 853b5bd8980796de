"""Flow charts in mermaid's language as SVG, without a browser: boxes in layers, arrows between them.

GitHub and JupyterLab draw these diagrams with mermaid itself; this module draws the part of the language that the
notebooks use for pages that may not load it: ``flowchart LR`` or ``TD``, nodes, arrows with labels, ``class``.
"""

import html
import re
from dataclasses import dataclass, field
from itertools import pairwise

CHAR, LINE, PAD = 6.9, 17.0, 10.0  # width of a character, height of a line, space inside a box, in pixels
GAP, BETWEEN = 18.0, 46.0  # between boxes of a layer, between layers
BOW = 26.0  # by which an arrow back runs beside the one forth

SHAPES = {"[": "]", "([": "])", "((": "))", "(": ")", "{": "}", "[[": "]]", "{{": "}}", "[(": ")]"}
NODE = re.compile(r"\s*([A-Za-z_][\w]*)\s*(\(\[|\(\(|\[\[|\[\(|\{\{|\[|\(|\{)?")
LINK = re.compile(
    r"""\s*(?:
      --\s*"(?P<a>[^"]*)"\s*--> | -\.\s*"(?P<b>[^"]*)"\s*\.-> | ==\s*"(?P<c>[^"]*)"\s*==> |
      --\s+(?P<d>[^-|"\n]+?)\s+--> | -\.\s+(?P<e>[^.|"\n]+?)\s+\.-> |
      (?P<plain>-->|---|-\.->|-\.-|==>|===)
    )\s*(?:\|\s*"?(?P<f>[^|"]*)"?\s*\|)?\s*""",
    re.X,
)


class Unsupported(ValueError):
    """The diagram uses something that is not drawn here."""


@dataclass
class Node:
    """A box, or with ``dummy`` the place where a long arrow crosses a layer."""

    lines: list[str] = field(default_factory=list)
    shape: str = "["
    styles: dict[str, str] = field(default_factory=dict)
    dummy: bool = False
    layer: int = 0
    along: float = 0.0  # centre, in the direction of the flow
    across: float = 0.0

    @property
    def width(self) -> float:
        return 0.0 if self.dummy else max(map(len, self.lines)) * CHAR + 2 * PAD + (10 if self.shape != "[" else 0)

    @property
    def height(self) -> float:
        return 4.0 if self.dummy else len(self.lines) * LINE + 1.4 * PAD


@dataclass
class Edge:
    """An arrow; ``path`` runs from layer to layer, ``back`` where that is against its direction."""

    start: str
    end: str
    text: str = ""
    dashed: bool = False
    arrow: bool = True
    back: bool = False
    path: list[str] = field(default_factory=list)


def parse(text: str) -> tuple[bool, dict[str, Node], list[Edge]]:
    """(flows to the right, nodes by name, edges).

    Raises:
        Unsupported: a line is not understood.
    """
    lines = [line.split("%%")[0].strip().rstrip(";") for line in text.strip().splitlines()]
    lines = [line for line in lines if line]
    head = re.fullmatch(r"(?:flowchart|graph)\s+(LR|RL|TD|TB)", lines[0] if lines else "")
    if not head or head[1] == "RL":
        raise Unsupported(f"only flowchart LR and TD are drawn, not {lines[:1]}")
    nodes: dict[str, Node] = {}
    edges: list[Edge] = []
    styles: dict[str, dict[str, str]] = {}
    members: list[tuple[str, str]] = []
    for line in lines[1:]:
        if define := re.fullmatch(r"classDef\s+(\w+)\s+(.*)", line):
            styles[define[1]] = dict(part.split(":", 1) for part in define[2].split(",") if ":" in part)
        elif use := re.fullmatch(r"class\s+([\w, ]+?)\s+(\w+)", line):
            members += [(name.strip(), use[2]) for name in use[1].split(",")]
        elif style := re.fullmatch(r"style\s+(\w+)\s+(.*)", line):
            styles[f"#{style[1]}"] = dict(part.split(":", 1) for part in style[2].split(",") if ":" in part)
            members.append((style[1], f"#{style[1]}"))
        elif re.match(r"(subgraph|end|direction|click|linkStyle)\b", line):
            raise Unsupported(line)
        else:
            _statement(line, nodes, edges)
    for name, style in members:
        if name in nodes:
            nodes[name].styles |= styles.get(style, {})
    return head[1] == "LR", nodes, edges


def _statement(line: str, nodes: dict[str, Node], edges: list[Edge]) -> None:
    """``A[text] & B -->|text| C``: any number of arrows in a row."""
    left, position = _group(line, 0, nodes)
    while position < len(line):
        link = LINK.match(line, position)
        if not link:
            raise Unsupported(line)
        right, position = _group(line, link.end(), nodes)
        label = next((link[k] for k in "abcdef" if link[k]), "")
        kind = link["plain"] or ("-.->" if link["b"] or link["e"] else "-->")
        for start in left:
            for end in right:
                edges.append(Edge(start, end, _clean(label)[0] if label else "", "." in kind, kind.endswith(">")))
        left = right


def _group(line: str, position: int, nodes: dict[str, Node]) -> tuple[list[str], int]:
    names = []
    while True:
        part = NODE.match(line, position)
        if not part:
            raise Unsupported(line)
        name, opening = part[1], part[2]
        position = part.end()
        node = nodes.setdefault(name, Node([name]))
        if opening:
            quoted = re.compile(rf'\s*"([^"]*)"\s*{re.escape(SHAPES[opening])}').match(line, position)
            body = quoted or re.compile(rf"([^\"]*?){re.escape(SHAPES[opening])}").match(line, position)
            if not body:
                raise Unsupported(line)
            node.lines, node.shape, position = _clean(body[1]), opening, body.end()
        style = re.compile(r":::\w+").match(line, position)
        position = style.end() if style else position
        names.append(name)
        more = re.compile(r"\s*&").match(line, position)
        if not more:
            return names, position if line[position:].strip() else len(line)
        position = more.end()


def _clean(text: str) -> list[str]:
    parts = re.split(r"<br\s*/?>|\\n", text)
    return [html.unescape(re.sub(r"</?\w+[^>]*>", "", part)).strip() for part in parts]


# ------------------------------------------------------------------------------------------------------------- layout


def _layers(nodes: dict[str, Node], edges: list[Edge]) -> list[list[str]]:
    """Names of the nodes layer by layer, long arrows with a dummy in each layer that they cross."""
    known: dict[str, set[str]] = {name: set() for name in nodes}
    for edge in sorted(edges, key=lambda e: e.dashed):  # what closes a circle runs back; dashed arrows rather than full
        edge.back = _leads(known, edge.end, edge.start)
        if not edge.back:
            known[edge.start].add(edge.end)
    forward = [(e.end, e.start) if e.back else (e.start, e.end) for e in edges if e.start != e.end]
    for _ in nodes:  # longest path
        for start, end in forward:
            nodes[end].layer = max(nodes[end].layer, nodes[start].layer + 1)
    for _ in nodes:  # a source stands just before its first user
        for name, node in nodes.items():
            following = [nodes[end].layer for start, end in forward if start == name]
            if following and not any(end == name for _, end in forward):
                node.layer = min(following) - 1
    layers: list[list[str]] = [[] for _ in range(1 + max(node.layer for node in nodes.values()))]
    for name, node in nodes.items():
        layers[node.layer].append(name)
    for k, edge in enumerate(edges):
        first, last = (edge.end, edge.start) if edge.back else (edge.start, edge.end)
        edge.path = [first]
        for layer in range(nodes[first].layer + 1, nodes[last].layer):
            name = f" {k} {layer}"
            nodes[name] = Node(dummy=True, layer=layer)
            layers[layer].append(name)
            edge.path.append(name)
        edge.path.append(last)
    return layers


def _leads(known: dict[str, set[str]], start: str, end: str) -> bool:
    """Whether arrows lead from ``start`` to ``end``."""
    seen, open_ = {start}, [start]
    while open_:
        new = known[open_.pop()] - seen
        seen |= new
        open_ += new
    return end in seen and start != end


def _order(layers: list[list[str]], pairs: list[tuple[str, str]]) -> None:
    """Order each layer by the mean place of its neighbours, forth and back; keep that with the fewest crossings."""
    place = {name: k for layer in layers for k, name in enumerate(layer)}

    def crossings() -> int:
        count = 0
        where = {name: k for k, layer in enumerate(layers) for name in layer}
        for i, (a, b) in enumerate(pairs):
            for c, d in pairs[i + 1 :]:
                if where[a] == where[c] and (place[a] - place[c]) * (place[b] - place[d]) < 0:
                    count += 1
        return count

    best, kept = crossings(), [list(layer) for layer in layers]
    for turn in range(8):
        for layer in layers if turn % 2 == 0 else layers[::-1]:
            mean = {}
            for name in layer:
                near = [place[a] for a, b in pairs if b == name] if turn % 2 == 0 else []
                near = near or [place[b] for a, b in pairs if a == name]
                mean[name] = sum(near) / len(near) if near else place[name]
            layer.sort(key=lambda name: mean[name])
            place |= {name: k for k, name in enumerate(layer)}
        if (now := crossings()) < best:
            best, kept = now, [list(layer) for layer in layers]
    for layer, names in zip(layers, kept):
        layer[:] = names


def _place(right: bool, nodes: dict[str, Node], edges: list[Edge], layers: list[list[str]]) -> None:
    """Coordinates: layers one after the other, in each of them boxes near their neighbours without touching."""
    pairs = [(a, b) for edge in edges for a, b in pairwise(edge.path)]
    _order(layers, pairs)

    def size(name: str, along: bool) -> float:
        return nodes[name].width if along == right else nodes[name].height

    here = 0.0
    for k, layer in enumerate(layers):
        deep = max(size(name, True) for name in layer)
        for name in layer:
            nodes[name].along = here + deep / 2
        texts = [len(e.text) for e in edges if nodes[e.path[0]].layer <= k < nodes[e.path[-1]].layer and e.text]
        crossing = max(texts, default=0) * CHAR * 0.9 if right else 24.0 * bool(texts)
        short = [len(e.text) * CHAR * 0.9 for e in edges if e.text and len(e.path) == 2 and nodes[e.path[0]].layer == k]
        here += deep + max([BETWEEN, *(s + 24 for s in short)] if right else [BETWEEN, crossing + 20])
    for layer in layers:
        at = 0.0
        for name in layer:
            nodes[name].across = at + size(name, False) / 2
            at += size(name, False) + GAP
        for name in layer:
            nodes[name].across -= at / 2
    for turn in range(24):
        for layer in layers if turn % 2 else layers[::-1]:
            wish = {}
            for name in layer:
                near = [nodes[a].across for a, b in pairs if b == name] + [
                    nodes[b].across for a, b in pairs if a == name
                ]
                wish[name] = sum(near) / len(near) if near else nodes[name].across
            _apart(layer, wish, nodes, lambda name: size(name, False))


def _apart(layer: list[str], wish: dict[str, float], nodes: dict[str, Node], size: object) -> None:
    """Put each node of a layer where it wishes, as far as the others leave room; neighbours that collide share it."""
    blocks: list[tuple[list[str], float]] = []  # names, centre of the block

    def extent(names: list[str]) -> float:
        return sum(size(n) for n in names) + GAP * (len(names) - 1)

    def centre(names: list[str]) -> float:
        offset, total = 0.0, 0.0
        for n in names:
            total += wish[n] - offset - size(n) / 2
            offset += size(n) + GAP
        return total / len(names) + extent(names) / 2

    for name in layer:
        names, mid = [name], wish[name]
        while blocks and blocks[-1][1] + extent(blocks[-1][0]) / 2 + GAP > mid - extent(names) / 2:
            names = blocks.pop()[0] + names
            mid = centre(names)
        blocks.append((names, mid))
    for names, mid in blocks:
        at = mid - extent(names) / 2
        for n in names:
            nodes[n].across = at + size(n) / 2
            at += size(n) + GAP


# ------------------------------------------------------------------------------------------------------------ drawing


def draw(text: str) -> str:
    """The diagram as an ``<svg>`` element; its colours come from the page's style sheet.

    Raises:
        Unsupported: it uses what is not drawn here.
    """
    blocks = _blocks(text)
    if not blocks:
        content, told, (left, top, right, bottom) = _picture(text)
        left, top, right, bottom = left - 4, top - 4, right + 4, bottom + 4
    else:  # subgraphs, one below the other, each in a frame with its title
        pictures = [(title, *_picture(body)) for title, body in blocks]
        left, right = min(box[0] for *_, box in pictures) - 16, max(box[2] for *_, box in pictures) + 16
        right = max(right, left + 24 + max(len(title) for title, _ in blocks) * CHAR)
        content, told, top, bottom = "", "", 0.0, 0.0
        for title, inner, words, box in pictures:
            height = box[3] - box[1] + 48
            content += (
                f'<rect class="frame" x="{left:.1f}" y="{bottom:.1f}" width="{right - left:.1f}" height="{height:.1f}" '
                f'rx="6"/><text x="{left + 12:.1f}" y="{bottom + 19:.1f}">{html.escape(title)}</text>'
                f'<g transform="translate(0 {bottom + 34 - box[1]:.1f})">{inner}</g>'
            )
            told, bottom = f"{told}{title}: {words}. ", bottom + height + 12
        left, top, right, bottom = left - 2, top - 2, right + 2, bottom - 10
    width, height = right - left, bottom - top
    return (
        f'<svg role="img" aria-label="diagram: {html.escape(told.strip())}" '
        f'viewBox="{left:.1f} {top:.1f} {width:.1f} {height:.1f}" width="{width:.0f}" '
        f'height="{height:.0f}">{content}</svg>'
    )


def _blocks(text: str) -> list[tuple[str, str]]:
    """(title, diagram) of each subgraph, where a diagram is made of nothing but subgraphs; empty where it has none.

    Raises:
        Unsupported: a subgraph lies in another, or there is something beside them.
    """
    head, *lines = text.strip().splitlines() or [""]
    blocks: list[tuple[str, list[str]]] = []
    common, inside = [], False
    for line in lines:
        start = re.fullmatch(r'\s*subgraph\s+(?:(\w+)\s*\[\s*"?([^"\]]*)"?\s*\]|"?([^"\[\]]*?)"?)\s*', line)
        if start and not inside:
            blocks.append((start[2] or start[3] or start[1] or "", []))
            inside = True
        elif line.strip() == "end" and inside:
            inside = False
        elif inside:
            blocks[-1][1].append(line)
        elif re.match(r"\s*(classDef|class|style)\b", line) or not line.split("%%")[0].strip():
            common.append(line)
        elif blocks or any("subgraph" in later for later in lines):
            raise Unsupported(line)
    return [(title, "\n".join([head, *body, *common])) for title, body in blocks]


def _picture(text: str) -> tuple[str, str, tuple[float, float, float, float]]:
    """The elements of a diagram without subgraphs, its words, and its box (left, top, right, bottom)."""
    right, nodes, edges = parse(text)
    if not nodes:
        raise Unsupported("an empty diagram")
    names = list(nodes)
    _place(right, nodes, edges, _layers(nodes, edges))

    def point(node: Node, side: float = 0.0) -> tuple[float, float]:
        along = node.along + side * (0.0 if node.dummy else (node.width if right else node.height)) / 2
        return (along, node.across) if right else (node.across, along)

    shapes, arrows, labels, boxes = [], [], [], []
    for node in (nodes[name] for name in names):
        x, y = point(node)
        boxes.append((x - node.width / 2, y - node.height / 2, x + node.width / 2, y + node.height / 2))
        radius = 3.0 if node.shape in ("[", "[[") else node.height / 2 if node.shape in ("([", "((") else 9.0
        style = ";".join(f"{k}:{v}" for k, v in node.styles.items() if re.fullmatch(r"[\w-]+", k) and ";" not in v)
        shapes.append(
            f'<rect class="node" x="{x - node.width / 2:.1f}" y="{y - node.height / 2:.1f}" width="{node.width:.1f}" '
            f'height="{node.height:.1f}" rx="{radius:.1f}"' + (f' style="{html.escape(style)}"' if style else "") + "/>"
        )
        top = y - (len(node.lines) - 1) * LINE / 2
        for k, line in enumerate(node.lines):
            shapes.append(_text(x, top + k * LINE + 4.5, line))
    for edge in edges:
        points = [point(nodes[edge.path[0]], 1), *(point(nodes[n]) for n in edge.path[1:-1])]
        points.append(point(nodes[edge.path[-1]], -1))
        if edge.back and len(points) == 2:  # beside the arrow that it answers
            across = max(p[right] for p in points) + BOW
            middle = sum(p[not right] for p in points) / 2
            points.insert(1, (middle, across) if right else (across, middle))
        curve = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
        for (a, b), (c, d) in pairwise(points):
            first, second = (((a + c) / 2, b), ((a + c) / 2, d)) if right else ((a, (b + d) / 2), (c, (b + d) / 2))
            curve += f"C{first[0]:.1f},{first[1]:.1f} {second[0]:.1f},{second[1]:.1f} {c:.1f},{d:.1f}"
        dash = ' stroke-dasharray="5 4"' if edge.dashed else ""
        arrows.append(f'<path class="edge" d="{curve}"{dash}/>')
        if edge.arrow:
            x, y = points[0] if edge.back else points[-1]
            s = -1 if edge.back else 1
            corner = (
                [(x, y), (x - 8 * s, y - 4), (x - 8 * s, y + 4)]
                if right
                else [(x, y), (x - 4, y - 8 * s), (x + 4, y - 8 * s)]
            )
            arrows.append(f'<polygon class="head" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in corner)}"/>')
        boxes += [(x, y, x, y) for x, y in points]
        if edge.text:
            k = (len(points) - 1) // 2
            (a, b), (c, d) = points[k], points[k + 1]
            x, y = (a + c) / 2, (b + d) / 2 - 5
            if edge.back and len(edge.path) == 2:
                x, y = points[1][0], points[1][1] + 12
            labels.append(_text(x, y, edge.text, ' class="label"'))
            half = len(edge.text) * CHAR * 0.45
            boxes.append((x - half, y - 12, x + half, y + 4))
    box = [min(b[k] for b in boxes) for k in (0, 1)] + [max(b[k] for b in boxes) for k in (2, 3)]
    return "".join(arrows + shapes + labels), ", ".join(" ".join(nodes[name].lines) for name in names), tuple(box)


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text{attributes} x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{html.escape(text)}</text>'
