"""Limits of use: the sentences that verdicts, cards, tables and commands repeat."""

_ALL = "hiring, schooling, policing, border control, insurance or medical"
NOT_FOR = "Not for lie detection, hiring, schooling or policing."
POSED = "Posed means told to act; it is not lying."
#: One line below an answer in a terminal.
BELOW = f"{POSED} {NOT_FOR}"
#: How long a part of an expression lasts, with experiments/durations.json.
DURATIONS = (
    "A rise lasts from 6% to 92% of the way up, a fall from 92% to 6% of the way down, a plateau between them; rest is "
    "the level at which the curve stays for 0.4 s. Divide by 0.42 (rise), 1.84 (plateau), 0.41 (fall) to get the time "
    "from the first movement to full height and back, or by 1.22, 1.02, 1.18 to get that from 10 to 90% of the height "
    "(medians of simulated smiles)."
)
#: On every page.
NOT_FOR_DECISIONS = f"Not for lie detection, {_ALL} decisions."
AI_ACT = "The EU AI Act, Art. 5(1)(f), forbids inferring emotions at work and in education."
#: With every verdict.
VERDICT = (
    "Says whether an expression moves like the posed or the spontaneous clips of its training people. Posed means "
    "told to act in a laboratory; it is not lying, and spontaneous means induced by film. "
    f"{NOT_FOR_DECISIONS}"
)
#: With tables of results, in Markdown.
TABLES = (
    "*Posed* means told to act in a laboratory; it is not lying. *Genuine* means induced, mostly by film, and is "
    "rarely confirmed. These figures say how often clips of these data sets are told apart, not what anybody feels or "
    f"hides. **Not for** lie or credibility detection, {_ALL} use."
)
#: With every result on micro-expressions.
MICRO = (
    "A brief movement of the face is no proof of a hidden feeling, and none of a lie; speech and chewing make such "
    f"movements too. {NOT_FOR}"
)
NOT_FOR_USE = f"Not for lie or credibility detection, {_ALL} use."
#: On the card of a clip network, and of an expression network.
CLIP_NETWORK = (
    "Says whether an expression moves like the posed or the spontaneous clips of its training people; posed is not "
    "lying, and nothing else than such clips was tested.",
    NOT_FOR_USE,
)
EXPRESSION_NETWORK = (
    "What a face shows is not what a person feels: the labels are what others saw in single pictures.",
    NOT_FOR_USE,
    AI_ACT,
    "Untested: people, cameras and light other than those of the pictures it was judged on.",
)
