"""SAR: towards stable test-time adaptation in dynamic wild world (Niu et al., ICLR 2023).

As in the authors' code, the norms of the last stage stay as they are: layer4 of a ResNet, the last three blocks and the
final norm of a vision transformer. CIFAR's networks have no layer4: all of their norms train. The learning rate is
theirs for a ResNet, in proportion below 32 images; for a vision transformer they take 1e-3 · N / 64. The paper has
numbers for ImageNet alone, which hold for every data set here.

Behind a fresh start their code goes on with the low average of the loss, so that it starts anew at every batch from
then on, and it steps by momentum where no sample is selected: here the average starts anew too, and such a batch
changes nothing.
"""

from toolchain.methods.declaration import AFFINE, NORMS, SGD, Method, Selection, Sharpness

LAST_BLOCKS = tuple(
    f"{stem}{number}" for stem in ("blocks.", "encoder.layers.encoder_layer_") for number in (9, 10, 11)
)

BN = (
    Method(
        name="sar",
        source="Niu et al., SAR, ICLR 2023",
        train="bn",
        trains=NORMS,
        parameters=AFFINE,
        skips=("layer4", *LAST_BLOCKS, "norm", "encoder.ln"),
        optimizer=SGD(learning_rate=2.5e-4),
        whole_rate_from=32,
        selection=Selection(share=0.4),
        beside=Sharpness(),
        update="driver",
    ),
)
