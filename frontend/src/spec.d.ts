/** The figure spec: what `factviz/views` writes and every painter reads. */

export type Rgb = [number, number, number];
/** A place in `arrays`; numbers never stand in the spec itself. */
export interface Ref {
  array: number;
}
export interface ArrayInfo {
  dtype: "float32" | "int32";
  shape: number[];
  offset: number;
}
export interface Colours {
  positive: Rgb;
  negative: Rgb;
  max_opacity: number;
}
export type Key = Record<string, string | number | null>;

export interface MatrixPanel {
  mark: "matrix";
  title?: string;
  unit?: string;
  pages?: { label: string; options: string[] } | null;
  rows: { title: string; labels: string[]; keys?: Key[] | null };
  columns: {
    title: string;
    labels: string[];
    groups?: { name: string; positions: number[] }[] | null;
  };
  values: Ref;
  totals?: boolean;
  limit?: number | null;
  order?: "contribution" | "layer";
  top?: number | null;
  detail?: "matrix-row" | null;
}
export interface BarsPanel {
  mark: "bars";
  title?: string;
  unit?: string;
  labels: string[];
  keys?: Key[] | null;
  values: Ref | number[];
  low?: Ref | null;
  high?: Ref | null;
  classes?: (string | null)[] | null;
  /** The classes whose heads are counted, where the bars follow the points' rule; null: no class. */
  counts?: (string | null)[] | null;
}
export interface Series {
  label: string;
  values: Ref;
  low?: Ref | null;
  high?: Ref | null;
  class?: string | null;
}
export interface LinesPanel {
  mark: "lines";
  title?: string;
  unit?: string;
  x: { title: string; values: Ref };
  series: Series[];
}
export interface PointsAxis {
  title: string;
  unit?: string;
  values: Ref;
}
export interface PointsPanel {
  mark: "points";
  title?: string;
  x: PointsAxis;
  y: PointsAxis;
  labels: string[];
  keys?: Key[] | null;
  classes?: (string | null)[] | null;
  rule?: ClassRule | null;
}
/** What the class rule needs beside the points' x and y, for any threshold. */
export interface ClassRule {
  threshold: number;
  /** Thresholds that are marked under the slider. */
  marks: number[];
  /** The least from each side, for a mixed head. */
  mixed: number;
  eligible: Ref;
  above: Ref;
  size: Ref;
}
export type Panel = MatrixPanel | BarsPanel | LinesPanel | PointsPanel;

export interface Spec {
  version: number;
  title?: string;
  subtitle?: string;
  caption?: string;
  notes?: string[];
  choose?: { label: string; options: string[] } | null;
  colours: Colours;
  panels: Panel[][];
}
export interface Selection {
  panel: number;
  row: number;
  key: Key | null;
}

/** What a painter gets beside its panel. */
export interface Context {
  colours: Colours;
  /** The numbers of an array in row-major order. */
  read: (ref: Ref | number[] | null | undefined) => Float32Array | Int32Array;
  tip: Tip;
  select: (row: number | null) => void;
}
export interface Tip {
  /** Text in lines; the first is set in bold. */
  show: (anchor: Element, text: string) => void;
  hide: () => void;
}
/** What a painter gives back. */
export interface View {
  node: HTMLElement;
  /** Shows a selection that was made elsewhere. */
  select?: (row: number | null) => void;
  /** Fits the view to the room it has now. */
  layout?: () => void;
}
