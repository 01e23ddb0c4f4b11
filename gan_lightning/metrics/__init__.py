"""Whether a generator is getting better: extractors see images, statistics sum up, scores compare two sets."""
