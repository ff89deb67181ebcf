FROM a
LABEL single=1
LABEL a.b.c="d" e='f g' "h i"="j k"
LABEL multi="line one \
line two" \
      other=yes
LABEL old style value
LABEL empty= quoted=""
