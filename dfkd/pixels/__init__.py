"""Pictures as tensors: MATLAB's bicubic, files and luma, how good a picture is, the benchmarks by name."""
