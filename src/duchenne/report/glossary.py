"""What the terms of a page mean, shown where the mouse rests on them."""

GLOSSARY: dict[str, str] = {
    "spontaneous": "Shown while watching a film that evokes an emotion; its label is “genuine”.",
    "posed": "Told to act the expression, in a laboratory. It is not lying.",
    "P(genuine)": "How likely a clip that moves like this one is spontaneous, by the model; 0.5 is undecided.",
    "middle half": "From the lower to the upper quartile: a quarter of these people lie below it, a quarter above.",
    "onset": "Where the expression starts to rise: 6% of its way from rest to plateau.",
    "apex": "Where the rise ends and the plateau starts: 92% of the way.",
    "offset": "Where the plateau ends and the fall starts.",
    "end": "Where the fall has come to rest.",
    "How long it rose": "From onset to apex: from 6% to 92% of the way up.",
    "How long it stood": "From apex to offset: above 92% of its height.",
    "How it fell": "From offset to end.",
    "How high": "From rest to plateau; the eye distance is that between the centers of the two eyes.",
    "Top speed of the rise": "Of the curve smoothed over about 0.2 s.",
    "Left and right": "How much further one lip corner moved than the other, with the turn of the head removed.",
    "Did the eyes join?": "Cheek raiser (AU06) beside lip corner puller (AU12): would a FACS coder see them?",
    "Which moved first": "When eyes and brows, and when the mouth, were half way up; blinks do not count.",
    "Peaks": "Tops that stand out by 15% of the expression’s height.",
    "Eye distance": "The unit of lengths: the same face has the same one, near or far.",
    "trembling": "Movement of the points from frame to frame that no face makes.",
}
