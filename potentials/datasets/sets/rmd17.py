"""rMD17: ten molecules, 100,000 structures each of MD17, recomputed.

One .npz file per molecule, official split and part.

``rmd17:MOLECULE:SPLIT:PART`` with SPLIT 01 … 05 and PART train or test is one file of 1,000 frames
in its official order; without PART both, train first; ``rmd17:MOLECULE`` is the full set, from the
original archive.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from potentials.datasets.formats.npz import read_npz
from potentials.datasets.formats.units import Units
from potentials.datasets.frames import Frames, Provenance, join
from potentials.datasets.recipe import Part, Recipe, RemoteFile, choose, padded

FORM = "rmd17:MOLECULE[:SPLIT[:PART]]"
MOLECULES = (
    "aspirin", "azobenzene", "benzene", "ethanol", "malonaldehyde", "naphthalene", "paracetamol",
    "salicylic", "toluene", "uracil",
)  # fmt: skip
SPLITS = ("01", "02", "03", "04", "05")
PARTS = ("train", "test")
SPLIT_FILES = "https://raw.githubusercontent.com/andersx/rmd17-npz/4f6bb0a186822c90d47cd98b7a27991fe0b3173b/rmd17-npz"
ARCHIVE = "https://figshare.com/ndownloader/files/23950376"
UNITS = Units("kcal/mol")
SHA256 = {
    "rmd17_aspirin_test_01.npz": "a3c3b61e782d01e6dd649a126004903f7873e8e7ee5034135abfdb8873be711d",
    "rmd17_aspirin_test_02.npz": "445e26aa2253dcf7e8d9386785c4a9cea69f1e196f54fbd69a969c53177a1a9c",
    "rmd17_aspirin_train_01.npz": (
        "d460f0e43a1a9411b55cdcd9cdbeb9466ae62851ac91392516ab88e4ebc68143"
    ),
    "rmd17_aspirin_train_02.npz": (
        "8a5699756e1a9c2bc30c22985cff03b45cb1eb36550941d742d8ce5abfac2d01"
    ),
    "rmd17_azobenzene_test_01.npz": (
        "e83c87fe541a95e7349684e47294821ada708a780b59c469d3792588213cfc05"
    ),
    "rmd17_azobenzene_test_02.npz": (
        "d40465898d81b26acecd3cf87ace552f71e125321b6a7f1086a7d4b9840d2a8d"
    ),
    "rmd17_azobenzene_train_01.npz": (
        "7a2ce543773f6cb7a2cccecbc37fd479781e27ec2d0bb4e5f9ecff8e404e5857"
    ),
    "rmd17_azobenzene_train_02.npz": (
        "ecab4b730743f7c39ad244bc1295b5100871208c3ac549626752ac5275fc41e0"
    ),
    "rmd17_benzene_test_01.npz": "4aad4aa2f5ae6aa78d2d9f5da7cb285c97864cfbdf054b67de12a1429b249534",
    "rmd17_benzene_test_02.npz": "a6e4243266892db8877157e9aeee04a685869aab22dfa9b2da34a4947cc2ddca",
    "rmd17_benzene_train_01.npz": (
        "6e69deb5dc8663c2d2461cc50e522c74742acea7b4185da348fc08585a15cdc7"
    ),
    "rmd17_benzene_train_02.npz": (
        "baa8b8448dbe2f9e9bd5958de9f89f46a63c6504c0c0c24f0e4ac0c0e76524fc"
    ),
    "rmd17_ethanol_test_01.npz": "c3594a0f93d5992e02f9eb671392fb2e5021b3fa4f902417886966d1e4f64e1e",
    "rmd17_ethanol_test_02.npz": "b3276f23d28d4588d008e19ad68e784278caf58e90c7139a11cd7e950b8d3eb4",
    "rmd17_ethanol_train_01.npz": (
        "096946747b8d9dcfa042b44f8debbd3da387dfe1586b659e3be789cc4927316a"
    ),
    "rmd17_ethanol_train_02.npz": (
        "b4bd8ed96ffaa31fe50634ab8705684151011033c3dd73927d61931fc8fda863"
    ),
    "rmd17_malonaldehyde_test_01.npz": (
        "147404574d4fe3204dea7eb3799426d264e36b7900012f27fd2d26a26832fdaf"
    ),
    "rmd17_malonaldehyde_test_02.npz": (
        "d0977dc7f47a25aee87d7deaccd90e81c20d20aff7f3ece37a7d526a540aa867"
    ),
    "rmd17_malonaldehyde_train_01.npz": (
        "95723385cdfd7f8446a84cdff607f14901e4c2b3949db7a965147dc5098d8ee1"
    ),
    "rmd17_malonaldehyde_train_02.npz": (
        "ff161de4f1dfa21f80b9225c8489dc2f267a5361ad39e59e20e898db09933786"
    ),
    "rmd17_naphthalene_test_01.npz": (
        "80a19bca6aaa5cdf241007d6a7332e7b96a8e6ef362c1badcdb86a574ac3fe06"
    ),
    "rmd17_naphthalene_test_02.npz": (
        "de682a3e54de5276bcb1f6970f1bcb82452754815d970c783fe089978c66bee6"
    ),
    "rmd17_naphthalene_train_01.npz": (
        "940f41110785fb0d3fa5feac68800cf4c68bd05fd55d563d3adacf5247d7688a"
    ),
    "rmd17_naphthalene_train_02.npz": (
        "2b5dac7969803d83d9625979651c44d10368d65839781776095a5e4beeba46b7"
    ),
    "rmd17_paracetamol_test_01.npz": (
        "99e09ff10b54c55830c011c0959b643bede0512a89ae5b5b9a11e8abea9b3eaa"
    ),
    "rmd17_paracetamol_test_02.npz": (
        "9090bc53b4f7a72ebaaab1362f6311341d64f9c94469f4509137c288e8930fe3"
    ),
    "rmd17_paracetamol_train_01.npz": (
        "819513d42011a63773ff1baf61b06f9f0884370fbdb6539d6f11fc6cb580a0ba"
    ),
    "rmd17_paracetamol_train_02.npz": (
        "c77e51f5101eec50d14deb7033cd0e7bfea858ddd61b37309702ade55ec3b1ff"
    ),
    "rmd17_salicylic_test_01.npz": (
        "4a03f66c719d7684f39620b2bae6842613482a86cdd4e6f95115ae4d37f03cc0"
    ),
    "rmd17_salicylic_test_02.npz": (
        "8dd9e9c587155142287a8ad55db5d250e822fd98585eaff73aae888bbc6ce2bb"
    ),
    "rmd17_salicylic_train_01.npz": (
        "9f96d79ec7a66dec666dbba60307c083ede80ecc919e0c9513ad9accfe43b5c0"
    ),
    "rmd17_salicylic_train_02.npz": (
        "b18d19aacc1f74b50ae12e78971ac13606aa12391dbf2ba87e670aa73dbdff00"
    ),
    "rmd17_toluene_test_01.npz": "8a658b9bf1b7a5c1abaa03846ee6302725e02bdcd2ab720ef94da0be55625faa",
    "rmd17_toluene_test_02.npz": "8b04b4bbdba25f45478b3db153814b0332de8bcc7c3e56c1265696597c0191e2",
    "rmd17_toluene_train_01.npz": (
        "24d0642f897a1da1fdc4dbdd0a9c2a7f6082dd88e02954b12896a45a7a5fbac7"
    ),
    "rmd17_toluene_train_02.npz": (
        "57a2f44a931d6074363ea7826e22b0cc06e52e1af1bace98daaec10ca3ce1bd6"
    ),
    "rmd17_uracil_test_01.npz": "ceda757f7670d97080ec3c28dfb559aeb8ca54f49e7f0da0682fa1eb5ac00907",
    "rmd17_uracil_test_02.npz": "8c789fd0085e8fda19a7a0d0482e6a2442b52a618c264ea1fdbeab90b08bb3a9",
    "rmd17_uracil_train_01.npz": "e1d450430362e3bebdeea96b24501f5e56a5a8af1eb02d50cb763f48b51523cf",
    "rmd17_uracil_train_02.npz": "2781e0bcd4143cac577bc5094e3ef2f77b04434601409d72af15b3903e044ff3",
}


def part(fields: list[str]) -> Part:
    """Find the files behind the fields of a name."""
    molecule, split, piece = padded(fields, 3, FORM)
    choose(molecule, MOLECULES, "molecule", FORM)
    if not split:
        name = f"rmd17_{molecule}.npz"
        return Part(
            (RemoteFile(name, ARCHIVE, archive="rmd17.tar.bz2", member=f"rmd17/npz_data/{name}"),),
            _read,
        )
    choose(split, SPLITS, "split", FORM)
    return Part(split_files(molecule, split, piece, FORM), _read)


def split_files(molecule: str, split: str, piece: str, form: str) -> tuple[RemoteFile, ...]:
    """Name the file of one part of an official split, or of both, train first."""
    pieces = (choose(piece, PARTS, "part", form),) if piece else PARTS
    names = [f"rmd17_{molecule}_{p}_{split}.npz" for p in pieces]
    return tuple(RemoteFile(name, f"{SPLIT_FILES}/{name}", SHA256.get(name, "")) for name in names)


def _read(paths: Sequence[Path]) -> Frames:
    return join([read_npz(path, UNITS) for path in paths])


RMD17 = Recipe(
    form=FORM,
    example="rmd17:ethanol:01:train",
    names=(
        *(f"rmd17:{m}" for m in MOLECULES),
        *(f"rmd17:{m}:{s}:{p}" for m in MOLECULES for s in SPLITS for p in PARTS),
    ),
    part=part,
    provenance=Provenance(
        name="rMD17",
        description="revised MD17: ten molecules at 500 K, energies and forces",
        theory="PBE/def2-SVP",
        licence="CC0-1.0",
        citation=(
            "A. S. Christensen, O. A. von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020)"
        ),
        url="https://doi.org/10.6084/m9.figshare.12672038",
        units=UNITS,
    ),
)
