"""EATA: efficient test-time model adaptation without forgetting (Niu et al., ICML 2022).

The numbers are those for CIFAR-10; for ImageNet the authors take a cosine below 0.05, a strength of 2000 and a learning
rate of 2.5e-4.
"""

from toolchain.methods.declaration import AFFINE, NORMS, SGD, Anchor, Method, Selection

BN = Method(
    name="eata",
    source="Niu et al., EATA, ICML 2022",
    train="bn",
    trains=NORMS,
    parameters=AFFINE,
    optimizer=SGD(learning_rate=2.5e-3),
    selection=Selection(share=0.4, weighted=True, redundancy=0.4),
    anchor=Anchor(strength=1.0, samples=2000),
)
