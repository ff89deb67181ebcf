FROM a
RUN one \   
    two \	
    three \ 	 
    four
COPY a \  
     b
