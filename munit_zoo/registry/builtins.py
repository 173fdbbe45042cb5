"""The table of contents: every component the package ships, as `name = module:Class`.

Written like a package's entry points, so that ours and a third party's are the same thing, and
kept free of torch, so that listing stays fast. A test holds each line against its class. A name
that ends in `.*` is a family of another package's components (`munit_zoo.registry._families`).
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
        elu = munit_zoo.blocks.activations:ELU
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
        drit = munit_zoo.blocks.drit:DritContentEncoder
        preactivation = munit_zoo.blocks.content_encoders:PreActivationContentEncoder
        residual = munit_zoo.blocks.drit:ResidualEncoder
        resnet = munit_zoo.blocks.content_encoders:ResnetContentEncoder
        timm = munit_zoo.blocks.timm_encoders:TimmContentEncoder
        unet = munit_zoo.blocks.unet_codes:UnetContentEncoder
    """,
    "style_encoder": """
        bicyclegan_conv = munit_zoo.blocks.bicyclegan:BicycleConvEncoder
        bicyclegan_resnet = munit_zoo.blocks.bicyclegan:BicycleResnetEncoder
        conv = munit_zoo.blocks.style_encoders:ConvStyleEncoder
        starganv2 = munit_zoo.blocks.starganv2:StarGANv2StyleEncoder
        timm = munit_zoo.blocks.timm_encoders:TimmStyleEncoder
    """,
    "decoder": """
        adain_resnet = munit_zoo.blocks.decoders:AdaINResnetDecoder
        drit = munit_zoo.blocks.drit_decoders:DritDecoder
        drit_featurewise = munit_zoo.blocks.drit_decoders:DritFeaturewiseDecoder
        modulated_resnet = munit_zoo.blocks.modulated:ModulatedResnetDecoder
        resnet = munit_zoo.blocks.decoders:ResnetDecoder
        spade_resnet = munit_zoo.blocks.decoders:SpadeResnetDecoder
        styled_resnet = munit_zoo.blocks.styled_decoder:StyledResnetDecoder
        unet = munit_zoo.blocks.unet_codes:UnetDecoder
    """,
    "generator": """
        ones = munit_zoo.blocks.generators:Ones
        resnet = munit_zoo.blocks.generators:ResnetGenerator
        stargan = munit_zoo.blocks.stargan:StarGANGenerator
        starganv2 = munit_zoo.blocks.starganv2:StarGANv2Generator
        styled_unet = munit_zoo.blocks.bicyclegan:StyledUnetGenerator
        unet = munit_zoo.blocks.generators:UnetGenerator
    """,
    "mapping": """
        mlp = munit_zoo.blocks.mappings:MLP
        starganv2 = munit_zoo.blocks.starganv2:StarGANv2Mapping
    """,
    "discriminator": """
        content = munit_zoo.blocks.drit:ContentDiscriminator
        funit = munit_zoo.blocks.funit:FunitDiscriminator
        imaginaire_residual = munit_zoo.blocks.imaginaire:ImaginaireResidualDiscriminator
        multiscale_patch = munit_zoo.blocks.discriminators:MultiscalePatchDiscriminator
        multiscale_patchgan = munit_zoo.blocks.bicyclegan:MultiscalePatchGAN
        patch = munit_zoo.blocks.discriminators:PatchDiscriminator
        patch_classes = munit_zoo.blocks.discriminators:PatchClassDiscriminator
        pixel = munit_zoo.blocks.discriminators:PixelDiscriminator
        projected = munit_zoo.blocks.projected:ProjectedDiscriminator
        pyramid_patch = munit_zoo.blocks.imaginaire:PyramidPatchDiscriminator
        residual = munit_zoo.blocks.residual_discriminators:ResidualDiscriminator
        residual_classes = munit_zoo.blocks.residual_discriminators:ResidualClassDiscriminator
        stargan = munit_zoo.blocks.stargan:StarGANDiscriminator
        starganv2 = munit_zoo.blocks.starganv2:StarGANv2Discriminator
        unet = munit_zoo.blocks.residual_discriminators:UnetDiscriminator
    """,
    "augmentation": """
        adaptive_diffaugment = munit_zoo.blocks.augmentations:AdaptiveDiffAugment
        diffaugment = munit_zoo.blocks.augmentations:DiffAugment
        none = munit_zoo.blocks.augmentations:NoAugmentation
    """,
    "loss": """
        attribute_bce = munit_zoo.losses.classification:AttributeBCE
        cross_entropy = munit_zoo.losses.classification:CrossEntropy
        diversity_sensitive = munit_zoo.losses.diversity:DiversitySensitive
        domain_invariant_vgg = munit_zoo.losses.perceptual:DomainInvariantVGG
        feature_matching = munit_zoo.losses.matching:FeatureMatching
        gaussian_kl = munit_zoo.losses.regularizers:GaussianKL
        hinge = munit_zoo.losses.adversarial:Hinge
        l1 = munit_zoo.losses.reconstruction:L1
        lpips = munit_zoo.losses.lpips:LPIPSLoss
        lsgan = munit_zoo.losses.adversarial:LSGAN
        mode_seeking = munit_zoo.losses.diversity:ModeSeeking
        mse = munit_zoo.losses.reconstruction:MSE
        nsgan = munit_zoo.losses.adversarial:NSGAN
        r1 = munit_zoo.losses.penalties:R1
        r2 = munit_zoo.losses.penalties:R2
        ragan = munit_zoo.losses.adversarial:RaGAN
        rpgan = munit_zoo.losses.adversarial:RpGAN
        self_similarity = munit_zoo.losses.self_similarity:SelfSimilarity
        smooth_l1 = munit_zoo.losses.reconstruction:SmoothL1
        total_variation = munit_zoo.losses.regularizers:TotalVariation
        vae_kl = munit_zoo.losses.regularizers:VaeKL
        vgg_perceptual = munit_zoo.losses.perceptual:VGGPerceptual
        wgan = munit_zoo.losses.adversarial:WGAN
        wgan_gp = munit_zoo.losses.penalties:WganGP
    """,
    "model": """
        bicyclegan = munit_zoo.models.bicyclegan:BicycleGan
        cyclegan = munit_zoo.models.cyclegan:CycleGan
        cyclegan_noise = munit_zoo.models.cyclegan_noise:CycleGanNoise
        drit = munit_zoo.models.drit:Drit
        funit = munit_zoo.models.funit:Funit
        imaginaire_munit = munit_zoo.models.imaginaire_munit:ImaginaireMunit
        imaginaire_unit = munit_zoo.models.imaginaire_unit:ImaginaireUnit
        munit = munit_zoo.models.munit:Munit
        pix2pix = munit_zoo.models.pix2pix:Pix2Pix
        stargan = munit_zoo.models.stargan:StarGan
        stargan_attributes = munit_zoo.models.stargan:StarGanAttributes
        stargan_joint = munit_zoo.models.stargan:StarGanJoint
        starganv2 = munit_zoo.models.starganv2:StarGanV2
        starganv2_high_pass = munit_zoo.models.starganv2:StarGanV2HighPass
        unit = munit_zoo.models.unit:Unit
    """,
    "dataset": """
        huggingface = munit_zoo.data.huggingface:HuggingFace
        image_folder = munit_zoo.data.image_folder:ImageFolder
        image_list = munit_zoo.data.image_list:ImageList
        shapes = munit_zoo.data.shapes:Shapes
        side_by_side = munit_zoo.data.side_by_side:SideBySide
        webdataset = munit_zoo.data.webdataset:WebDataset
    """,
    "metric": """
        cis = munit_zoo.metrics.classes:ClassScores
        fidelity = munit_zoo.metrics.fidelity:Fidelity
        lpips = munit_zoo.metrics.lpips:LPIPSDiversity
        pairs = munit_zoo.metrics.pairs:Pairs
        shapes = munit_zoo.metrics.shapes:ShapesMetric
    """,
    "extractor": """
        inception = munit_zoo.metrics.extractors:InceptionExtractor
        timm = munit_zoo.metrics.timm_networks:TimmExtractor
        torchvision = munit_zoo.metrics.extractors:TorchvisionExtractor
    """,
    "optimizer": """
        adam = munit_zoo.optim.optimizers:Adam
        adamw = munit_zoo.optim.optimizers:AdamW
        rmsprop = munit_zoo.optim.optimizers:RMSprop
        sgd = munit_zoo.optim.optimizers:SGD
        timm.* = munit_zoo.optim.timm_optimizers:TimmOptimizers
        torch.* = munit_zoo.optim.torch_optimizers:TorchOptimizers
    """,
    "schedule": """
        constant = munit_zoo.optim.schedules:Constant
        cosine = munit_zoo.optim.schedules:Cosine
        linear = munit_zoo.optim.schedules:Linear
        step = munit_zoo.optim.schedules:Step
    """,
}
