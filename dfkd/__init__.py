"""Data-free knowledge distillation for image super-resolution."""

from dfkd.method.loop import Distillation
from dfkd.method.settings import Config, configure
from dfkd.method.sources import make_source
from dfkd.method.students import make_student
from dfkd.networks.photographs import upscale
from dfkd.networks.zoo import load_model, load_student, load_teacher, save_model
from dfkd.pixels.colour import luma
from dfkd.pixels.files import read_image, write_image
from dfkd.pixels.metrics import diversity, psnr, ssim
from dfkd.pixels.resize import imresize
from dfkd.running.evaluation import Score, evaluate, evaluate_images

__version__ = "0.1.0"

__all__ = [
    "Config", "Distillation", "Score", "configure", "diversity", "evaluate", "evaluate_images", "imresize",
    "load_model", "load_student", "load_teacher", "luma", "make_source", "make_student", "psnr", "read_image",
    "save_model", "ssim", "upscale", "write_image",
]  # fmt: skip
