"""Which of two clips of one person is more genuine: python examples/compare_clips.py a.mp4 b.mp4

It assumes that exactly one of them is posed.
"""

import sys

from duchenne import ranking

answer = ranking.rank(sys.argv[1], sys.argv[2])
if answer.winner is None:
    print("No answer:", answer.reason)
else:
    print(f"{sys.argv[1 + answer.winner]} is more genuine; P(the first is) = {answer.p:.2f}")
for warning in answer.warnings:
    print("note:", warning)
