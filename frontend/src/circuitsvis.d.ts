/** What factviz/notebook/static/attention.js uses of circuitsvis, which stands before it. */
declare const CircuitsVis: {
  AttentionHeads: unknown;
  AttentionPattern: unknown;
  render: (id: string, component: unknown, props: Record<string, unknown>) => void;
};
