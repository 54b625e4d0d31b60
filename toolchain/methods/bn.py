"""BatchNorm on the statistics of the batch, mixed with the source's where batches are small.

Nado et al. 2020, "Evaluating Prediction-Time Batch Normalization"; Schneider et al., NeurIPS 2020, "Improving
robustness against common corruptions by covariate shift adaptation", whose N `source_samples` is.
"""

from toolchain.methods.declaration import Method

NONE = (Method(name="bn", source="Schneider et al., NeurIPS 2020", train="none"),)
