"""What clusters are made of besides the molecules of the set, as SMILES."""

from __future__ import annotations

from potentials.labels.closed_shells.fragments import words

COMMON = words("""
O O O N F Cl Br S P C CC C=C C#C CO CCO COC C=O CC=O CC(C)=O OC=O CC(=O)O NC=O CC(N)=O CNC=O
CNC(C)=O NC(N)=O CN CNC CN(C)C C#N CC#N CS CSC CS(C)=O COC=O C[N+](=O)[O-] c1ccccc1 c1ccncc1
c1cc[nH]c1 c1ccoc1 c1ccsc1 c1c[nH]cn1 Oc1ccccc1 Nc1ccccc1 c1ncncn1 c1cnccn1 [H][H] N#N O=C=O
[C-]#[O+] O=S=O OO CF CCl CBr CI FC(F)F ClC(Cl)Cl FC(F)(F)F ClCl BrBr FCl Fc1ccccc1
O=c1cc[nH]c(=O)[nH]1 Nc1cc[nH]c(=O)n1 Nc1ncnc2[nH]cnc12 NC(N)=S CP(C)C CP(C)(C)=O OP(=O)(O)O
CS(N)(=O)=O Cc1ccccc1 CCC CCCC CC(C)(C)C C1CCCC1 C1CCCCC1 C1CC1 C1CO1 C1CCOC1 C1COCCO1
c1ccc2[nH]ccc2c1 NCC(=O)O Clc1ccccc1
""")

CATIONS = words("""
[NH4+] [OH3+] C[NH3+] C[NH2+]C C[NH+](C)C C[N+](C)(C)C NC(N)=[NH2+] CC(N)=[NH2+] c1c[nH]c[nH+]1
c1cc[nH+]cc1 Cn1cc[n+](C)c1 C[n+]1ccccc1 C[OH2+] C=[OH+] CC(C)=[OH+] CNC(N)=[NH2+] C[S+](C)C
C[P+](C)(C)C [PH4+] [SH3+] CC[NH3+] C1CC[NH2+]C1 NC=[OH+] CC(N)=[OH+] CC#[NH+] C[SH2+] CC(O)=[OH+]
Nc1cc[nH]c(=O)[nH+]1
""")

ANIONS = words("""
[F-] [Cl-] [Br-] [I-] [OH-] C[O-] CC[O-] O=C[O-] CC(=O)[O-] [C-]#N [SH-] C[S-] O=[N+]([O-])[O-]
[N-]=[N+]=[N-] [S-]C#N [O-]C#N O=S(=O)([O-])O O=P([O-])(O)O CS(=O)(=O)[O-] [O-]c1ccccc1 O=C([O-])O
O=N[O-] [O-]Cl(=O)(=O)=O F[P-](F)(F)(F)(F)F C=C[O-] [CH2-]C=O c1c[n-]cn1 O=C([O-])c1ccccc1
CP(=O)([O-])O O=C([O-])C(F)(F)F [NH2-] [C-]#C COP(=O)(O)[O-]
""")

ZWITTERIONS = words("""
[NH3+]CC(=O)[O-] C[N+](C)(C)CC(=O)[O-] CC([NH3+])C(=O)[O-] [NH3+]CCC(=O)[O-] [NH3+]CCS(=O)(=O)[O-]
C[NH2+]CC(=O)[O-] O=C([O-])C1CCC[NH2+]1 [NH3+]C(CO)C(=O)[O-] [NH3+]CP(=O)([O-])O
[NH3+]C(CS)C(=O)[O-]
""")

FLAT = words("""
c1ccccc1 c1ccncc1 c1cnccn1 c1cncnc1 c1ncncn1 c1cc[nH]c1 c1ccoc1 c1ccsc1 c1c[nH]cn1 Oc1ccccc1
Nc1ccccc1 O=c1cc[nH]c(=O)[nH]1 Cc1c[nH]c(=O)[nH]c1=O Nc1cc[nH]c(=O)n1 Nc1ncnc2[nH]cnc12
Nc1nc2[nH]cnc2c(=O)[nH]1 c1ccc2[nH]ccc2c1 Fc1ccccc1 N#Cc1ccccc1 O=[N+]([O-])c1ccccc1 C=CC=C
O=C1C=CC(=O)C=C1 NC=O Cc1ccccc1 Clc1ccccc1 c1ccc2ccccc2c1 C#C
""")

HALOGENATED = words("""
ClCl BrBr II FCl FBr FI ClBr ClI CCl CBr CI FC(F)(F)Cl FC(F)(F)Br FC(F)(F)I Clc1ccccc1 Brc1ccccc1
Ic1ccccc1 C=CBr C=CCl C#CCl C#CBr C#CI N#CCl N#CBr N#CI ClC(Cl)Cl BrC(Br)Br ClC(Cl)(Cl)Cl
CC(=O)CBr Brc1ccncc1
""")

PROTON_SHARING = words("""
[OH3+] [NH4+] C[OH2+] C[NH3+] CC(C)=[OH+] c1cc[nH+]cc1 [OH-] C[O-] O=C[O-] CC(=O)[O-] [NH2-] C[S-]
[F-]
""")
