"""What molecules are made of, as SMILES.

Scaffolds, substituents, biological building blocks, and small species by name.
"""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """Split a list at its spaces."""
    return tuple(text.split())


SCAFFOLDS = words("""
C CC CCC CCCC CC(C)C CCCCC C1CC1 C1CCC1 C1CCCC1 C1CCCCC1 C1CCCCCC1 C=C CC=C C=CC=C C#C CC#C C=C=C
C1=CCCC1 C1=CCCCC1 C1=CCC=CC1 c1ccccc1 c1ccccc1 c1ccccc1 c1ccc2ccccc2c1 c1ccncc1 c1ccncc1 c1cncnc1
c1cnccn1 c1ccnnc1 c1ncncn1 c1cc[nH]c1 c1ccoc1 c1ccsc1 c1c[nH]cn1 c1c[nH]cn1 c1cn[nH]c1 c1cocn1
c1conc1 c1cscn1 c1csnc1 c1nc[nH]n1 c1c[nH]nn1 c1nnn[nH]1 c1ncon1 c1nnco1 c1nncs1 c1ccc2[nH]ccc2c1
c1ccc2[nH]cnc2c1 c1ccc2occc2c1 c1ccc2sccc2c1 c1ccc2ncccc2c1 c1ncc2nc[nH]c2n1 O=c1cc[nH]c(=O)[nH]1
Cc1c[nH]c(=O)[nH]c1=O Nc1cc[nH]c(=O)n1 Nc1ncnc2[nH]cnc12 O=c1[nH]cnc2nc[nH]c12 O=c1cccc[nH]1
O=c1cc[nH]cc1 O=c1ccocc1 O=C1C=CC(=O)C=C1 C1CCNCC1 C1CNCCN1 C1COCCN1 C1CCNC1 C1CCOC1 C1CCSC1
C1CCOCC1 C1CO1 C1CN1 C1CS1 C1CNC1 C1COC1 C1COCO1 C1COCCO1 C1CSCCS1 C1CC2CCC1C2 C1CN2CCC1CC2
O=C1CCCN1 O=C1CCCO1 O=C1CCC(=O)N1 O=C1C=CC(=O)N1 O=C1CCCC1 O=C1CCCCC1 O=C1C=CCCC1 NCC(=O)O
NC(C)C(=O)O CNCC(=O)O NCC(=O)NCC(=O)O CC(=O)NCC(=O)NC CC(=O)NC NC=O CC(N)=O CN(C)C=O NC(N)=O
NC(N)=S NC(=N)N CC(=N)N C=N CC=N CC(C)=NO CC(C)=O CC=O OC=O CC(=O)O COC=O COC(C)=O CO CCO COC
CCOCC CS CCS CSC CSSC CS(C)=O CS(C)(=O)=O NS(C)(=O)=O CS(=O)(=O)O CP CP(C)C CP(C)(C)=O CP(=O)(O)O
COP(=O)(O)O COP(C)(=O)OC OP(=O)(O)O COP(C)(=S)OC C[N+](=O)[O-] CC#N CN CNC CN(C)C CCN NN CNN CNO
CON CN=C=O CN=C=S CN=[N+]=[N-] CC(=O)CC(C)=O CC(=O)C=C CC=CC=O OC(=O)C=C OC(=O)CC(=O)O
OC(=O)C(=O)O NC(=O)C=C Oc1ccccc1 Nc1ccccc1 OC(=O)c1ccccc1 C=Cc1ccccc1 O=Cc1ccccc1 CC(=O)c1ccccc1
Cc1ccccc1 COc1ccccc1 N#Cc1ccccc1 O=[N+]([O-])c1ccccc1 Sc1ccccc1 OCc1ccccc1 NCc1ccccc1 Clc1ccccc1
Brc1ccccc1 Ic1ccccc1 Fc1ccccc1 CF CCl CBr CI FC(F)F ClC(Cl)Cl FCCF ClC=C BrC=C FC=C CC(=O)Cl
CC(=O)F CS(=O)(=O)Cl CS(=O)(=O)F OCCO NCCO NCCN OCC(O)CO OCC=O OC1CCCO1 OC1CCCCO1 OC1COC(O)C1O
OCC1CCCO1 CC(O)C(=O)O OC(=O)CO COC(=O)N CNC(=O)OC CC(=O)OC(C)=O CC(=S)O CC(N)=S CSC(C)=O S=C=NC
C=CO C=CN C=CS CC(O)=CC=O N=CN CN=CN(C)C c1cc[n+]([O-])cc1 C[N+](C)(C)[O-] C=S CC(C)=S C=C=O
C1=CC1 C1=CCC=C1 C1=CC=CC=CC1 C1=CCCCCC1 C12CC1C2 C1CC2CC12 OO COO CN=NC O=NC N#CC#N
""")

SUBSTITUENTS = words("""
C C C CC C(C)C C(C)(C)C C1CC1 C=C C#C F F F Cl Cl Cl Br Br I C(F)(F)F C(F)F CF CCl CBr CI C(Cl)Cl
O O O OC OC OCC OC(C)=O OC=O OC(F)(F)F S SC SCC SC#N S(C)=O S(C)(=O)=O S(=O)(=O)O S(N)(=O)=O N N N
NC N(C)C NC(C)=O NC=O NC(N)=O NS(C)(=O)=O N=C(N)N NC(=N)N NN NO C(=N)N C(N)=S [N+](=O)[O-] C#N C#N
C=O C=O C(C)=O C(=O)O C(=O)O C(=O)OC C(=O)N C(=O)NC C(=O)N(C)C CO CO CN CN CS COC CSC CN(C)C CNC
CC(=O)O CC#N CC(N)=O C(=O)CO CCO CCN CCS C=NO C=NC C=N C(=O)Cl C(=O)F C(=O)S C(O)CO C(N)C(=O)O
CC(N)C(=O)O OP(=O)(O)O P(=O)(O)O P(C)C P(C)(C)=O P N=C=O N=C=S N=[N+]=[N-] N=O N=NC c1ccccc1
c1ccccc1 c1ccncc1 c1cc[nH]c1 c1ccco1 c1cccs1 c1c[nH]cn1 [nH]1cccc1 [nH]1ccnc1 c1ncccn1 Cc1ccccc1
Oc1ccccc1 C1CO1 N1CCOCC1 N1CCCC1 N1CCNCC1 C1CCCC1 C1CCCCC1 C1CCCO1 C1CC1 OCCO OCC=C CC=C C=CC=O
C=CC(=O)O C=CC#N OCC(=O)O SCC(=O)O NCC(=O)O C=S [N+]#[C-] OO C(=O)OO ON S(F)(=O)=O S(Cl)(=O)=O
""")

FLEXIBLE = words("""
CCCC CCCCC CCCCCC CCCCCCC CCCCCCCC CC(C)CC CCC(C)CC CC(C)C(C)C CCCC(C)C CCO CCCO CCCCO CCCCCO OCCO
OCCCO OCC(O)CO OCCCCO CCOCC COCCOC COCCO CCCOC CCCN CCCCN NCCN NCCCN NCCO NCCCO NCCS CCNCC CCN(C)C
CCC=O CCCC=O CCC(C)=O CCC(=O)CC CCC(=O)O CCCC(=O)O CCOC(C)=O COC(=O)CC CCC#N CCCC#N NCC#N OCC#N
OCC=O NCC=O CC(O)C=O OCC(C)=O CC(O)C(=O)O NCC(=O)O CC(N)C(=O)O NCCC(=O)O OCC(=O)O COCC(=O)O
FCCF ClCCCl BrCCBr FCCO ClCCO FCCN CCCF CCCCl CCCBr CCCI CCS CCCS CCSC CCSCC CCSSC CSSC SCCS SCCO
C=CCC C=CCCC C=CCC=C CC=CC C=CCO C=CCN C#CCC C#CCO C=CC=C CC(=C)C=C C=COC CCC=C(C)C NCC(=O)NC
CC(=O)NC CC(=O)NCC CCNC=O CCC(N)=O CCCC(N)=O CNC(=O)CC NC(=O)CC(N)=O OC(=O)CCC(=O)O OC(=O)CC(=O)O
CC(=O)CC(C)=O CC(=O)CCC(C)=O CCc1ccccc1 CCCc1ccccc1 COc1ccccc1 OCc1ccccc1 NCc1ccccc1 NCCc1ccccc1
OCCc1ccccc1 C1CCCCC1C C1CCCCC1O C1CCCC1C C1CCCC1O CC1CCNCC1 OC1CCNCC1 C1CCOC1C C1CCCCCC1 C1CCCCCCC1
CCP CCPC COP(C)C COP(=O)(OC)OC CCOP(=O)(O)O OO COOC CCOO NN CNN CNNC NO CON CCON OCF COCF COCCl
""")

AMINO_ACIDS = words("""
NCC(=O)O CC(N)C(=O)O CC(C)C(N)C(=O)O CC(C)CC(N)C(=O)O CCC(C)C(N)C(=O)O OC(=O)C1CCCN1
NC(Cc1ccccc1)C(=O)O NC(Cc1ccc(O)cc1)C(=O)O NC(CO)C(=O)O CC(O)C(N)C(=O)O NC(CS)C(=O)O
CSCCC(N)C(=O)O NC(=O)CC(N)C(=O)O NCCCCC(N)C(=O)O NC(=O)CCC(N)C(=O)O OC(=O)CC(N)C(=O)O
OC(=O)CCC(N)C(=O)O NC(=N)NCCCC(N)C(=O)O NC(Cc1c[nH]cn1)C(=O)O NCCC(=O)O CC(=O)NCC(=O)NC
CC(=O)NC(C)C(=O)NC CC(=O)NC(CO)C(=O)NC CC(=O)NC(CS)C(=O)NC CC(=O)NC(C(C)C)C(=O)NC NCCCC(=O)O
CC(=O)NC(CC(=O)O)C(=O)NC CC(=O)NC(CC(N)=O)C(=O)NC CC(=O)N1CCCC1C(=O)NC CC(=O)NC(C(C)O)C(=O)NC
NCC(=O)NCC(=O)O NCC(=O)NC(C)C(=O)O CC(N)C(=O)NCC(=O)O CC(N)C(=O)NC(C)C(=O)O NCC(=O)NC(CO)C(=O)O
NC(CO)C(=O)NCC(=O)O NCC(=O)NCC(=O)NC NCC(=O)NC(CS)C(=O)O NC(CS)C(=O)NCC(=O)O
NC(CC(=O)O)C(=O)NCC(=O)O NCC(=O)NC(CC(=O)O)C(=O)O NCC(=O)NCC(=O)NCC(=O)O NCC(N)=O CC(N)C(N)=O
NCC(=O)OC CC(=O)NCC(=O)O CC(=O)NC(C)C(=O)O CNC(=O)CN CNC(=O)C(C)N NC(CO)C(N)=O O=CNCC(N)=O
CNC(=O)CNC=O
""")

SUGARS = words("""
OCC1OC(O)C(O)C(O)C1O OCC1OC(O)C(O)C1O OC1COC(O)C(O)C1O OCC1OC(O)CC1O CC1OC(O)C(O)C(O)C1O
OCC(O)C(O)C(O)C=O OCC(O)C(O)C=O OCC(O)C=O OCC(=O)CO OCC1CCC(O)O1 COC1OC(CO)C(O)C1O
NC1C(O)OCC(O)C1O OC(=O)C1OC(O)C(O)C(O)C1O OCC(O)C(O)CO OCC(O)C(O)C(O)CO OC1CCC(O)C(O)C1O
OCC(=O)C(O)C(O)CO OC1CCOC(O)C1O OCC1OCC(O)C1O COC1CCCCO1 COC1CCCO1 OCC1CC=CO1 OC1C(O)COC1CO
""")

BASES = words("""
Nc1ncnc2[nH]cnc12 Nc1ncnc2nc[nH]c12 Nc1nc2[nH]cnc2c(=O)[nH]1 Nc1cc[nH]c(=O)n1 O=c1cc[nH]c(=O)[nH]1
Cc1c[nH]c(=O)[nH]c1=O Cn1cnc2c(N)ncnc21 Cn1cnc2c(=O)[nH]c(N)nc21 Cn1ccc(N)nc1=O Cn1ccc(=O)[nH]c1=O
Cc1cn(C)c(=O)[nH]c1=O O=c1[nH]cnc2nc[nH]c12 O=c1[nH]c(=O)c2nc[nH]c2[nH]1 Oc1ccnc(O)n1
N=c1cc[nH]c(=O)[nH]1 Nc1ccnc(O)n1 Nc1nc(O)c2nc[nH]c2n1 Fc1c[nH]c(=O)[nH]c1=O
Brc1c[nH]c(=O)[nH]c1=O Cn1cnc2ncnc(N)c21 CNc1ncnc2[nH]cnc12 Nc1ccn(C2CCCO2)c(=O)n1
O=c1ccn(C2CCCO2)c(=O)[nH]1 Nc1nc(N)c2nc[nH]c2n1
""")

SMALL_NEUTRAL = words("""
[H][H] N#N FF ClCl BrBr II F Cl Br I ClF BrF BrCl ClI FI BrI [C-]#[O+] [C-]#[S+] O S N P C C#C C=C
CC C#N [C-]#[NH+] OCl OBr OI OF O=C=O S=C=S O=C=S [N-]=[N+]=O [O-][O+]=O O=S=O O=S(=O)=O OO N=N NN
N=O ON=O O[N+](=O)[O-] C#[N+][O-] N=C=O OC#N N=C=S SC#N [N-]=[N+]=N C=[N+]=[N-] C=C=O C=C=C C=O
C=S C=N CO CS CN CF CCl CBr CI FCF ClCCl BrCBr ICI FC(F)F ClC(Cl)Cl BrC(Br)Br IC(I)I FC(F)(F)F
ClC(Cl)(Cl)Cl BrC(Br)(Br)Br NO NF NCl FNF FN(F)F ClN(Cl)Cl FP(F)F ClP(Cl)Cl BrP(Br)Br CP PP
FP(F)(F)(F)F FS(F)(F)F FS(F)(F)(F)(F)F O=P(Cl)(Cl)Cl O=P(F)(F)F O=S(Cl)Cl O=S(F)F O=S(=O)(Cl)Cl
O=S(=O)(F)F O=S(=O)(O)O O=P(O)(O)O O=S(O)O OP(O)O O[PH](=O)O O[Cl](=O)(=O)=O O=[Cl]O SS CSSC SCl
ClSCl FSF FOF ClOCl N#CF N#CCl N#CBr N#CI O=C(F)F O=C(Cl)Cl O=CF O=CCl OC=O O=CO OC(=O)O NC=O
NC(N)=O NC(N)=S NC#N N#CC#N C#CC#N C#CC#C C#CF C#CCl CC#C C=CF C=CCl C=CBr C=CI C1CC1 C1=CC1 C1CO1
C1CN1 C1CS1 C1=CO1 C1=CN1 C1=NC1 N1=NC1 C1OO1 C1=CC=C1 C1CCC1 C1=CCC1 C12CC1C2 C1CC2CC12
C12C3C1C23 C1CC1=C O=C1CC1 CC CCC CCCC CC(C)C CC(C)(C)C CCO COC CCN CNC CN(C)C CCS CSC CC=O
CC(C)=O CC(=O)O COC=O CC#N CC=C C=CC=C CC(C)=C C=CC=O O=CC=O CN=C=O C[N+]#[C-] CN=O CON
C[N+](=O)[O-] CON=O C=NO C=C=C=O O=C=C=C=O N=[N+]=[N-] CN=[N+]=[N-] CP(C)C C=P C#P CS(C)=O
CS(C)(=O)=O C[S](=O)(=O)O CC(F)F CCF CCCl CCBr CCI OCO OCF NCO NCN FCCl O=NCl O=NF O=[N+]([O-])F
OCC=O C=CO C=CN OC=CC=O N=CN NC=N N=CO OC=N c1ccccc1 c1ccncc1 c1cc[nH]c1 c1ccoc1 c1ccsc1
c1c[nH]cn1 Oc1ccccc1 Nc1ccccc1 O=S=S S=S OSO PN O=PO FP O=C=NF NS OS COO COF OON=O N=NO OC=C=O
""")

SMALL_IONS = words("""
[F-] [Cl-] [Br-] [I-] [OH-] [SH-] [NH2-] [PH2-] [CH3-] [C-]#N [C-]#C [O-]C#N [S-]C#N
[N-]=[N+]=[N-] O=N[O-] O=[N+]([O-])[O-] O=C[O-] CC(=O)[O-] O=C([O-])O O=S(=O)([O-])O O=P([O-])(O)O
[O-]Cl [O-]Br [O-]I [O-][Cl+2]([O-])[O-] [O-]Cl(=O)(=O)=O F[P-](F)(F)(F)(F)F C[O-] CC[O-]
CC(C)[O-] CC(C)(C)[O-] C[S-] CC[S-] C[NH-] [CH2-]C#N [CH2-]C=O C=C[O-] [CH2-][N+](=O)[O-]
CC(=O)[CH2-] [O-]O CO[O-] [NH-]N [NH-]O [O-]N NC([O-])=O O=C([O-])C(=O)O O=C([O-])C(F)(F)F
FC(F)[CH-]F O=C([O-])CO [O-]c1ccccc1 [S-]c1ccccc1 O=C([O-])c1ccccc1 c1cc[n-]c1 c1c[n-]cn1
c1cc[cH-]c1 CS(=O)(=O)[O-] CS(=O)[O-] O=S([O-])O F[H-]F I[I-]I Cl[I-]Cl C=C[CH2-] [CH2-]c1ccccc1
[C-]#CC CP(=O)([O-])O COS(=O)(=O)[O-] C[PH-] [N-]=C=N NC(=O)[NH-] CC(=O)[NH-] CS(=O)(=O)[NH-]
O=[N-] [O-]P=O [OH3+] [NH4+] [PH4+] [SH3+] [CH3+] C[CH2+] C[CH+]C C[C+](C)C C=C[CH2+]
[CH2+]c1ccccc1 [CH]#[O+] N#[O+] O=[N+]=O C[NH3+] C[NH2+]C C[NH+](C)C C[N+](C)(C)C CC[NH3+]
C=[NH2+] C=[OH+] CC=[OH+] CC(C)=[OH+] C[OH2+] CC[OH2+] C[OH+]C CC[OH+]CC C[SH2+] C[SH+]C C[S+](C)C
C[PH3+] C[P+](C)(C)C [NH3+]N [NH3+]O NC(N)=[NH2+] CC(N)=[NH2+] NC=[NH2+] CC#[NH+] C#[NH+] NC=[OH+]
CC(N)=[OH+] CC(O)=[OH+] OC=[OH+] c1cc[nH+]cc1 c1c[nH]c[nH+]1 Cn1cc[n+](C)c1 c1ccc[nH+]c1
C[n+]1ccccc1 C1C[NH2+]1 C1C[OH+]1 C1CC[NH2+]CC1 C[NH+]1CCCCC1 [NH3+]CC(=O)O NC(=O)[NH3+]
NC(N)=[OH+] [NH3+]c1ccccc1 c1ccc[cH+]cc1 [OH2+]O CC#[O+] C[I+]C [NH2+]=C=O O=C=[OH+] C[N+]#N
c1ccccc1[N+]#N [H][O+]=C=O C=[SH+] C=[NH+]C C[NH+]=C(N)N CNC(N)=[NH2+] C[CH+]O C[CH+]N FC=[OH+]
C[CH+]c1ccccc1 [NH3+]CC([O-])=O C[NH2+]CC([O-])=O C[N+](C)(C)CC([O-])=O [NH3+]C(C)C([O-])=O
[NH3+]CCC([O-])=O [NH3+]CS([O-])(=O)=O [NH3+]CCS([O-])(=O)=O [NH3+]CP([O-])(=O)O
""")
