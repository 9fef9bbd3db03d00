"""Which of one person's two clips is the more genuine: python examples/compare_clips.py a.mp4 b.mp4

It takes for granted that one of them is posed and the other is not.
"""

import sys

from duchenne import ranking

found = ranking.rank(sys.argv[1], sys.argv[2])
if found.winner is None:
    print("No answer.", found.reason)
else:
    print(f"{sys.argv[1 + found.winner]} is the more genuine; P(the first is) = {found.p:.2f}")
for warning in found.warnings:
    print("note:", warning)
