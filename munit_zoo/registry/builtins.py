"""The table of contents: every component the package ships, as `name = module:Class`.

Written like a package's entry points, so that ours and a third party's are the same thing, and
kept free of torch, so that listing stays fast. A test holds each line against its class.
"""

from __future__ import annotations

__all__ = ["BUILTINS"]

BUILTINS: dict[str, str] = {
    "norm": """
        adain = munit_zoo.blocks.norms:AdaIN
        batch = munit_zoo.blocks.norms:BatchNorm
        group = munit_zoo.blocks.norms:GroupNorm
        instance = munit_zoo.blocks.norms:InstanceNorm
        layer = munit_zoo.blocks.norms:LayerNorm
        none = munit_zoo.blocks.norms:NoNorm
    """,
    "activation": """
        gelu = munit_zoo.blocks.activations:GELU
        lrelu = munit_zoo.blocks.activations:LeakyReLU
        none = munit_zoo.blocks.activations:NoActivation
        prelu = munit_zoo.blocks.activations:PReLU
        relu = munit_zoo.blocks.activations:ReLU
        selu = munit_zoo.blocks.activations:SELU
        silu = munit_zoo.blocks.activations:SiLU
        tanh = munit_zoo.blocks.activations:Tanh
    """,
    "content_encoder": """
        resnet = munit_zoo.blocks.content_encoders:ResnetContentEncoder
        timm = munit_zoo.blocks.timm_encoders:TimmContentEncoder
    """,
    "style_encoder": """
        conv = munit_zoo.blocks.style_encoders:ConvStyleEncoder
        timm = munit_zoo.blocks.timm_encoders:TimmStyleEncoder
    """,
    "decoder": """
        adain_resnet = munit_zoo.blocks.decoders:AdaINResnetDecoder
        resnet = munit_zoo.blocks.decoders:ResnetDecoder
    """,
    "generator": """
    """,
    "mapping": """
        mlp = munit_zoo.blocks.mappings:MLP
    """,
    "discriminator": """
        multiscale_patch = munit_zoo.blocks.discriminators:MultiscalePatchDiscriminator
    """,
    "loss": """
        domain_invariant_vgg = munit_zoo.losses.perceptual:DomainInvariantVGG
        gaussian_kl = munit_zoo.losses.regularizers:GaussianKL
        hinge = munit_zoo.losses.adversarial:Hinge
        l1 = munit_zoo.losses.reconstruction:L1
        lsgan = munit_zoo.losses.adversarial:LSGAN
        mse = munit_zoo.losses.reconstruction:MSE
        nsgan = munit_zoo.losses.adversarial:NSGAN
        smooth_l1 = munit_zoo.losses.reconstruction:SmoothL1
        vgg_perceptual = munit_zoo.losses.perceptual:VGGPerceptual
    """,
    "model": """
        munit = munit_zoo.models.munit:Munit
        unit = munit_zoo.models.unit:Unit
    """,
    "dataset": """
        image_folder = munit_zoo.data.image_folder:ImageFolder
        image_list = munit_zoo.data.image_list:ImageList
        shapes = munit_zoo.data.shapes:Shapes
    """,
    "extractor": """
        inception = munit_zoo.metrics.extractors:InceptionExtractor
        timm = munit_zoo.metrics.timm_networks:TimmExtractor
        torchvision = munit_zoo.metrics.extractors:TorchvisionExtractor
    """,
    "metric": """
        cis = munit_zoo.metrics.classes:ClassScores
        fidelity = munit_zoo.metrics.fidelity:Fidelity
        lpips = munit_zoo.metrics.lpips:LPIPSDiversity
        pairs = munit_zoo.metrics.pairs:Pairs
        shapes = munit_zoo.metrics.shapes:ShapesMetric
    """,
    "optimizer": """
        adam = munit_zoo.engine.optim:Adam
        adamw = munit_zoo.engine.optim:AdamW
        rmsprop = munit_zoo.engine.optim:RMSprop
        sgd = munit_zoo.engine.optim:SGD
    """,
    "schedule": """
        constant = munit_zoo.engine.schedules:Constant
        cosine = munit_zoo.engine.schedules:Cosine
        linear = munit_zoo.engine.schedules:Linear
        step = munit_zoo.engine.schedules:Step
    """,
}
