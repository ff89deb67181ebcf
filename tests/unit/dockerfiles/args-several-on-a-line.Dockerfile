FROM a
ARG a b=1 c="x y" d='p q' e=\ z f
ARG  g=1   h=2	i=3
ARG "j=k l"
