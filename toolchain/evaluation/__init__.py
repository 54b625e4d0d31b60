"""How well a bundle predicts while it adapts: streams of labelled images, run by the bundle's own driver.

- data: labelled images in the formats in which they are published
- orders: which images are shown when, and where adaptation starts anew
- contestants: the bundle in a process of its own, and its twin in eager PyTorch
- run: contestants on streams; what came of it
- table, pictures: that, for people
- sweep: many evaluations, on this machine or on a Ray cluster
"""
