"""Data-free knowledge distillation for image super-resolution."""

from dfkd.config import Config
from dfkd.distill import Distillation, make_student
from dfkd.evaluate import Score, evaluate, evaluate_images
from dfkd.images import luma, read_image, write_image
from dfkd.metrics import diversity, psnr, ssim
from dfkd.resize import imresize
from dfkd.sources import make_source
from dfkd.upscale import upscale
from dfkd.zoo import load_model, load_student, load_teacher, save_model

__version__ = "0.1.0"

__all__ = [
    "Config", "Distillation", "Score", "diversity", "evaluate", "evaluate_images", "imresize", "load_model",
    "load_student", "load_teacher", "luma", "make_source", "make_student", "psnr", "read_image", "save_model", "ssim",
    "upscale", "write_image",
]  # fmt: skip
